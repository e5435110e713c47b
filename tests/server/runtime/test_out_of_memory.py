"""The C library keeps the memory that models free, also on a worker's thread."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Runs a model on a separate thread, as the server does, and prints the fewest page faults of the later runs. The heap
# grows during the first runs. On one core: threads of an operation would wait for each other beside other tests.
_PROGRAM = """
import resource, sys, threading
from pathlib import Path
import torch
from linnaeus.server.runtime.device import configure_process
from linnaeus.server.runtime.model_loading import LoadOptions, load_model

if sys.argv[2] == "configured":
    configure_process(1)
torch.set_num_threads(1)
model = load_model(Path(sys.argv[1]), torch.device("cpu"), 16, options=LoadOptions(runtime="torchscript"))

def serve():
    faults = []
    for _ in range(8):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        model.run_blank(16)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(min(faults[2:]))

thread = threading.Thread(target=serve)
thread.start()
thread.join()
"""


def page_faults(repository: Path, how: str) -> int:
    folder = str(repository / "efficientnet_lite0" / "1")
    done = subprocess.run([sys.executable, "-c", _PROGRAM, folder, how], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.release
@pytest.mark.skipif("glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="glibc only")
def test_a_configured_process_reuses_freed_pages(repository: Path) -> None:
    assert page_faults(repository, "as it comes") > 10_000, (
        "the default settings map no fresh pages, so the test shows nothing"
    )
    assert page_faults(repository, "configured") < 1_000
