"""Batches that run side by side on a CPU share its cores."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import torch

from linnaeus.server.errors import StartupError
from linnaeus.server.runtime import device as device_module
from linnaeus.server.runtime.device import CoreShare, default_workers, is_responsive, resolve_devices


def threads_given(share: CoreShare, concurrent: int, is_short: bool = False) -> int:
    """What torch uses on a thread that took its share."""
    return threads_after(lambda: share.take(concurrent, is_short))


def threads_after(take: Callable[[], object]) -> int:
    """What torch uses on a thread that did that."""
    seen: list[int] = []

    def look() -> None:
        take()
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(timeout=60)
    return seen[0]


@pytest.mark.parametrize(("concurrent", "threads"), [(0, 6), (1, 3), (2, 2), (3, 1), (7, 1)])
def test_a_batch_gets_its_part_of_the_cores_and_one_at_least(concurrent: int, threads: int) -> None:
    assert threads_given(CoreShare(torch.device("cpu"), 6), concurrent) == threads


@pytest.mark.parametrize("concurrent", [0, 1, 7])
def test_a_short_run_has_one_core_whatever_runs_beside_it(concurrent: int) -> None:
    assert threads_given(CoreShare(torch.device("cpu"), 6), concurrent, is_short=True) == 1


def test_runs_are_short_on_a_processor_whose_operator_did_not_say_how_many_threads_they_have() -> None:
    milliseconds = 0.001
    assert CoreShare(torch.device("cpu"), 0).are_short(milliseconds)
    assert not CoreShare(torch.device("cpu"), 0).are_short(10 * milliseconds)
    assert not CoreShare(torch.device("cpu"), 6).are_short(milliseconds)
    assert not CoreShare(torch.device("cuda", 0), 0).are_short(milliseconds)


def test_the_event_loop_runs_nothing_itself_that_takes_longer_than_a_millisecond() -> None:
    share = CoreShare(torch.device("cpu"), 0)
    assert share.runs_inline(0.0003) and not share.runs_inline(0.0011)


def test_short_runs_are_timed_on_their_core_and_beside_busy_ones_by_their_own_work() -> None:
    share, clocks = CoreShare(torch.device("cpu"), 6), list[object]()
    for busy in (False, True):
        assert threads_after(lambda busy=busy: clocks.append(share.take_short(busy))) == 1
    assert clocks == [time.perf_counter, time.thread_time]


def test_a_gpu_leaves_the_cores_alone() -> None:
    before = threads_given(CoreShare(torch.device("cpu"), 2), 0)
    assert threads_given(CoreShare(torch.device("cuda", 0), 6), 0) == before


def test_whoever_works_beside_others_has_one_core_and_is_timed_by_its_own_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share = CoreShare(torch.device("cpu"), 6)
    seen: list[float] = []

    def work() -> None:
        clock = share.take_one()
        seen.append(torch.get_num_threads())
        monkeypatch.setattr(device_module.time, "thread_time", lambda: 12.0)
        seen.append(clock())  # as if six cores had shared it
        seen.append(share.take_all() is device_module.time.perf_counter)
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=60)
    assert seen == [1, 2.0, True, 6]
    on_gpu = CoreShare(torch.device("cuda", 0), 6)
    assert on_gpu.take_one() is device_module.time.perf_counter


def test_several_devices_are_named_with_commas_and_each_counts_once() -> None:
    assert resolve_devices(" cpu, cpu:1 ,cpu:0,cpu,") == [torch.device("cpu"), torch.device("cpu:1")]


@pytest.mark.parametrize("names", ["", " , ", "cpu,gpu", "cpu,cuda:99"])
def test_wrong_names_of_devices_are_one_clear_sentence(names: str) -> None:
    with pytest.raises(StartupError, match="device") as refusal:
        resolve_devices(names)
    assert "\n" not in str(refusal.value)


def test_a_device_that_computes_answers() -> None:
    assert is_responsive(torch.device("cpu"))


@pytest.mark.parametrize("error", [RuntimeError("an illegal memory access"), NotImplementedError("no such device")])
def test_a_device_that_fails_at_the_simplest_sum_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(device_module.torch, "ones", _fail_with(error))
    assert not is_responsive(torch.device("cpu"))


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory\nSearch for …")]
)
def test_a_device_that_is_only_short_of_memory_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    monkeypatch.setattr(device_module.torch, "ones", _fail_with(error))
    assert is_responsive(torch.device("cpu"))


def test_a_gpu_has_two_batches_under_way_and_a_processor_one_a_core_at_most_four() -> None:
    assert default_workers(torch.device("cuda", 0)) == 2
    assert 1 <= default_workers(torch.device("cpu")) <= 4


def test_float32_stays_whole_on_a_gpu_and_no_time_goes_into_timing_convolutions() -> None:
    program = """
import torch
from linnaeus.server.runtime.device import configure_process
print(torch.backends.cudnn.benchmark, torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.allow_tf32)
configure_process(0)
print(torch.backends.cudnn.benchmark, torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.allow_tf32)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.splitlines()
    assert before == "False tf32 False", "torch has other defaults now: is the setting still needed?"
    assert after == "False ieee False"


def _fail_with(error: Exception) -> object:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail
