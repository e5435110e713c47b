"""The C library keeps what the models free, on the device's thread too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Runs a model on a thread of its own, as the server does, and prints the least page faults of the later runs: the heap
# grows during the first ones, how many depends on how the threads of an operation take turns.
_PROGRAM = """
import resource, sys, threading
from pathlib import Path
import torch
from linnaeus.server.runtime.device import configure_process
from linnaeus.server.runtime.model import load_model

if sys.argv[2] == "configured":
    configure_process(0)
model = load_model(Path(sys.argv[1]), torch.device("cpu"), 16)

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


@pytest.mark.skipif("glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="glibc only")
def test_a_run_takes_no_fresh_pages_from_the_kernel(repository: Path) -> None:
    assert page_faults(repository, "as it comes") > 10_000, "the test could not see pages being mapped afresh"
    assert page_faults(repository, "configured") < 1_000
