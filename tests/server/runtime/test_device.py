"""Batches that run side by side on a CPU share its cores."""

import threading

import pytest
import torch

from linnaeus.server.runtime.device import CoreShare


def threads_given(share: CoreShare, beside: int) -> int:
    """What torch uses on a thread that took its share."""
    seen: list[int] = []

    def take() -> None:
        share.take(beside)
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(timeout=10)
    return seen[0]


@pytest.mark.parametrize(("beside", "threads"), [(0, 6), (1, 3), (2, 2), (3, 1), (7, 1)])
def test_a_batch_gets_its_part_of_the_cores_and_one_at_least(beside: int, threads: int) -> None:
    assert threads_given(CoreShare(torch.device("cpu"), 6), beside) == threads


def test_a_gpu_leaves_the_cores_alone() -> None:
    before = threads_given(CoreShare(torch.device("cpu"), 2), 0)
    assert threads_given(CoreShare(torch.device("cuda", 0), 6), 0) == before
