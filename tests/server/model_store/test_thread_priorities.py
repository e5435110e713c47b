"""The threads that compute have a lower priority than the event loop, whichever runtime starts them."""

import subprocess
import sys
from pathlib import Path

import pytest

from linnaeus.models.activation import Activation
from linnaeus.models.export.onnx import export_onnx
from linnaeus.models.export.onnx_import import import_onnx_file
from linnaeus.models.export.own_model_import import ModelMetadata
from linnaeus.models.registry import find

# Loads a version on a thread of its own, as the server does; prints the niceness of the threads that the load left.
_LOAD = """
import asyncio, os, sys
from pathlib import Path
import torch
from linnaeus.server.model_store.loader import load_on_each
from linnaeus.server.model_store.repository import VersionFolder
from linnaeus.server.process.daemon_threads import run_in_thread
from linnaeus.server.runtime.device import CoreShare
from linnaeus.server.runtime.model_loading import LoadOptions

def niceness():
    return {task: os.getpriority(os.PRIO_PROCESS, int(task)) for task in os.listdir("/proc/self/task")}

def load():
    folder, cpu = VersionFolder("lenet", 1, Path(sys.argv[1])), torch.device("cpu")
    return load_on_each(folder, {cpu: CoreShare(cpu, 2)}, 4, options=LoadOptions(runtime=sys.argv[2]))

torch.set_num_threads(2)  # starts a pool of torch's own, which computes nothing here
before = niceness()
models = asyncio.run(run_in_thread("load", load))
print(*sorted({value - before[str(os.getpid())] for task, value in niceness().items() if task not in before}))
"""


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that both runtimes open."""
    root, model = tmp_path_factory.mktemp("onnx"), find("lenet")
    path = export_onnx(model, model.bundled_weights(), root / "lenet.onnx")
    metadata = ModelMetadata("lenet", model.input, None, None, model.labels(), activation=Activation.NONE)
    return import_onnx_file(path, metadata, root / "repository", 1)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_the_threads_of_a_runtime_have_a_lower_priority_than_the_event_loop(version: Path, runtime: str) -> None:
    command = [sys.executable, "-c", _LOAD, str(version), runtime]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout == "5\n", done.stdout + done.stderr
