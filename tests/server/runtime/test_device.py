"""How concurrent batches on a CPU share its cores, and how devices are named and checked."""

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
    """Returns torch's number of threads on a thread that took its share."""
    return threads_after(lambda: share.take(concurrent, is_short))


def threads_after(take: Callable[[], object]) -> int:
    """Returns torch's number of threads on a thread after it called `take`."""
    seen: list[int] = []

    def look() -> None:
        take()
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(timeout=60)
    return seen[0]


@pytest.mark.parametrize(("concurrent", "threads"), [(0, 6), (1, 3), (2, 2), (3, 1), (7, 1)])
def test_concurrent_batches_divide_the_cores_but_each_has_at_least_one(concurrent: int, threads: int) -> None:
    assert threads_given(CoreShare(torch.device("cpu"), 6), concurrent) == threads


@pytest.mark.parametrize("concurrent", [0, 1, 7])
def test_a_short_run_always_has_one_core(concurrent: int) -> None:
    assert threads_given(CoreShare(torch.device("cpu"), 6), concurrent, is_short=True) == 1


def test_runs_count_as_short_only_on_a_cpu_with_an_automatic_number_of_threads() -> None:
    milliseconds = 0.001
    assert CoreShare(torch.device("cpu"), 0).are_short(milliseconds)
    assert not CoreShare(torch.device("cpu"), 0).are_short(10 * milliseconds)
    assert not CoreShare(torch.device("cpu"), 6).are_short(milliseconds)
    assert not CoreShare(torch.device("cuda", 0), 0).are_short(milliseconds)


def test_short_runs_are_timed_by_cpu_time_if_other_work_competes() -> None:
    share, clocks = CoreShare(torch.device("cpu"), 6), list[object]()
    for busy in (False, True):
        assert threads_after(lambda busy=busy: clocks.append(share.take_short(busy))) == 1
    assert clocks == [time.perf_counter, time.thread_time]


def test_a_gpu_does_not_change_the_number_of_threads() -> None:
    before = threads_given(CoreShare(torch.device("cpu"), 2), 0)
    assert threads_given(CoreShare(torch.device("cuda", 0), 6), 0) == before


def test_take_one_gives_one_core_and_a_clock_of_shared_cpu_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share = CoreShare(torch.device("cpu"), 6)
    seen: list[float] = []

    def work() -> None:
        clock = share.take_one()
        seen.append(torch.get_num_threads())
        monkeypatch.setattr(device_module.time, "thread_time", lambda: 12.0)
        seen.append(clock())  # as if six cores shared the work
        seen.append(share.take_all() is device_module.time.perf_counter)
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=60)
    assert seen == [1, 2.0, True, 6]
    on_gpu = CoreShare(torch.device("cuda", 0), 6)
    assert on_gpu.take_one() is device_module.time.perf_counter


def test_a_device_list_is_separated_by_commas_without_duplicates() -> None:
    assert resolve_devices(" cpu, cpu:1 ,cpu:0,cpu,") == [torch.device("cpu"), torch.device("cpu:1")]


@pytest.mark.parametrize("names", ["", " , ", "cpu,gpu", "cpu,cuda:99"])
def test_an_invalid_device_list_raises_a_one_line_error(names: str) -> None:
    with pytest.raises(StartupError, match="device") as refusal:
        resolve_devices(names)
    assert "\n" not in str(refusal.value)


def test_a_device_that_computes_is_responsive() -> None:
    assert is_responsive(torch.device("cpu"))


@pytest.mark.parametrize("error", [RuntimeError("an illegal memory access"), NotImplementedError("no such device")])
def test_a_device_that_fails_at_a_simple_sum_is_not_responsive(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(device_module.torch, "ones", _fail_with(error))
    assert not is_responsive(torch.device("cpu"))


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory\nSearch for …")]
)
def test_a_device_that_is_out_of_memory_is_responsive(monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> None:
    monkeypatch.setattr(device_module.torch, "ones", _fail_with(error))
    assert is_responsive(torch.device("cpu"))


def test_a_gpu_has_two_workers_and_a_cpu_one_per_core_up_to_four() -> None:
    assert default_workers(torch.device("cuda", 0)) == 2
    assert 1 <= default_workers(torch.device("cpu")) <= 4


def test_configure_process_disables_tf32_and_cudnn_autotuning() -> None:
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
