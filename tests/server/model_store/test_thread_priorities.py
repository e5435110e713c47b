"""The threads of a runtime have a lower priority than the event loop: they inherit it from the thread that loads."""

import os
import threading
from typing import Any

import onnxruntime
import pytest

from linnaeus.models.activation import Activation
from linnaeus.models.export.onnx import export_onnx
from linnaeus.models.export.onnx_import import import_onnx_file
from linnaeus.models.export.own_model_import import ModelMetadata
from linnaeus.models.registry import find
from linnaeus.server.config.model_settings import ModelSettings
from linnaeus.server.model_store.loader import LoadContext, Loader
from linnaeus.server.model_store.model_folders import VersionFolder
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.runtime import openvino_runner
from linnaeus.server.runtime.openvino_conversion import openvino_core


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> VersionFolder:
    """A version that both runtimes open."""
    root, model = tmp_path_factory.mktemp("onnx"), find("lenet")
    path = export_onnx(model, model.bundled_weights(), root / "lenet.onnx")
    metadata = ModelMetadata("lenet", model.input, None, None, model.labels(), activation=Activation.NONE)
    return VersionFolder("lenet", 1, import_onnx_file(path, metadata, root / "repository", 1))


@pytest.fixture
def niceness(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much lower the priority is than this thread's, each time that a runtime may start threads."""
    seen: list[int] = []
    here = _niceness()
    core, session = openvino_core(), onnxruntime.InferenceSession

    class Core:
        def compile_model(self, *arguments: Any) -> Any:
            seen.append(_niceness() - here)
            return core.compile_model(*arguments)

    def open_session(*arguments: Any, **options: Any) -> Any:
        seen.append(_niceness() - here)
        return session(*arguments, **options)

    monkeypatch.setattr(openvino_runner, "openvino_core", Core)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    return seen


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime", "auto"])
async def test_a_runtime_starts_its_threads_at_a_lower_priority_than_the_event_loop(
    version: VersionFolder, niceness: list[int], runtime: str
) -> None:
    loader = Loader(2, lambda: 0.0, Supervisor())
    settings = ModelSettings(
        max_batch_size=4,
        max_queue_size=8,
        max_queue_delay_seconds=0.0,
        default_timeout_seconds=0.0,
        devices=("cpu",),
        runtime=runtime,
    )
    loaded = await loader.load(version, settings, LoadContext())
    await loader.release(list(loaded.models))
    assert niceness and set(niceness) == {5}


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
