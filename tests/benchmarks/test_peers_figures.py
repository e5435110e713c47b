"""What the bench prints of its measurements is what it measured."""

import subprocess
import sys

import pytest

from benchmarks.common.process_usage import memory_bytes, processor_seconds, tree
from benchmarks.peers.report import interval, ratio

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
        assert len(tree(parent.pid)) == 2
        assert processor_seconds(parent.pid) > 0.27  # in steps of a hundredth
        assert memory_bytes(parent.pid) > 64_000_000
        parent.stdin.write("\n")
        parent.stdin.close()
    assert tree(parent.pid) == [parent.pid] and processor_seconds(parent.pid) == 0


# Of n values, those between the k-th smallest and the k-th largest, from tables of the sign test at 5 %.
@pytest.mark.parametrize(("count", "place"), [(6, 1), (8, 1), (9, 2), (12, 3), (20, 6), (3, 1), (1, 1)])
def test_the_interval_leaves_out_as_many_extremes_as_five_per_cent_allow(count: int, place: int) -> None:
    values = [float(value) for value in range(1, count + 1)]
    assert interval(values[::-1]) == (place, count + 1 - place)


def test_a_ratio_is_that_of_the_medians_with_the_interval_of_the_rounds() -> None:
    assert ratio([2, 4, 6, 8, 9, 9], [1, 1, 2, 2, 3, 3]) == "3.50 (2.00 to 4.00)"
