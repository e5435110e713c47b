"""What is set for the whole process holds where the models run: on a thread of their own."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, threading, torch
from linnaeus.server.runtime.device import configure_process
configure_process(1)

def run():
    def faults_of(runs):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(runs):
            torch.ones(20 * 2**20)  # 80 MiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    faults_of(2)
    print(faults_of(10))

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator only")
def test_freed_memory_is_used_again_also_on_another_thread() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) < 1000, "each run faults its pages in afresh: 20,480 of them"
