"""A server's processor time and memory include those of its child processes."""

import subprocess
import sys

from benchmarks.common.process_usage import memory_bytes, process_tree, processor_seconds

# A child that computes and holds memory, below a parent that does neither.
CHILD = """
import time
held = bytearray(64_000_000)
while time.process_time() < 0.3:
    pass
print("done", flush=True)
input()
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


def test_processor_time_and_memory_of_a_childs_child_count() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout and parent.stdin
        parent.stdout.readline()
        assert len(process_tree(parent.pid)) == 2
        assert processor_seconds(parent.pid) > 0.27  # in steps of a hundredth
        assert memory_bytes(parent.pid) > 64_000_000
        parent.stdin.write("\n")
        parent.stdin.close()
    assert process_tree(parent.pid) == [parent.pid] and processor_seconds(parent.pid) == 0
