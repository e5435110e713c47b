"""A fault outside the run of a batch: it is reported, the callers are answered and the worker goes on.

Each part of a worker's work is broken once, on a real thread.
"""

import asyncio
from typing import Any

import pytest
from tests.server.execution.worker_harness import POISON, WorkerHarness
from tests.server.injected_faults import FAULTS, FailsFirst

from linnaeus.server.errors import InternalFailure
from linnaeus.server.runtime.model import Ranking
from linnaeus.server.scheduling import Stage


def inject(device: WorkerHarness, name: str, error: type[BaseException], times: int = 1) -> FailsFirst:
    """Makes a service of the worker's context raise."""
    fault = FailsFirst(getattr(device, name), error, times)
    setattr(device, name, fault)
    return fault


def wait_ended(device: WorkerHarness) -> None:
    assert device.ended is not None
    device.loop.run_until_complete(asyncio.wait_for(device.ended, 60))


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.parametrize("name", ["share_cores", "model", "batch_finished"])
def test_a_fault_outside_the_run_fails_its_batch_and_the_worker_goes_on(
    device: WorkerHarness, name: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    inject(device, name, error)
    device.put(2), device.put(4)
    device.start()
    results = device.results()
    assert set(results) == {2, 4}
    for failure in results.values():
        assert isinstance(failure, InternalFailure) and failure.reference in str(failure)
        assert failure.reference in caplog.text and "injected" not in str(failure)
    device.put(5)
    assert device.results() == {5: Ranking([0], [0.2])}
    assert device.faults == ["device_worker"] and len(device.escaped) == 1


def test_a_fault_before_a_batch_starts_still_answers_its_callers(device: WorkerHarness) -> None:
    inject(device, "batch_started", ZeroDivisionError)
    ticket = device.put(2)
    device.start()
    batch, failure = device.lost.get(timeout=60)  # the harness refuses the outcome of a batch that did not start
    assert batch.tickets == [ticket] and isinstance(failure, InternalFailure)
    device.put(5)
    assert device.results() == {5: Ranking([0], [0.2])}


@pytest.mark.parametrize("error", FAULTS)
def test_the_results_of_a_batch_are_delivered_even_if_its_device_cannot_be_judged(
    device: WorkerHarness, error: type[BaseException]
) -> None:
    inject(device, "must_remove_device", error)
    device.put(2)
    device.start()
    assert device.results() == {2: Ranking([0], [0.5])}
    device.put(5)
    assert device.results() == {5: Ranking([0], [0.2])}
    assert device.faults == ["device_worker"]


def test_callers_are_answered_even_if_the_failure_of_their_batch_cannot_be_handled(device: WorkerHarness) -> None:
    inject(device, "batch_finished", ZeroDivisionError, times=2)
    inject(device, "must_remove_after_escape", MemoryError)
    tickets = [device.put(2), device.put(4)]
    device.start()
    batch, failure = device.lost.get(timeout=60)
    assert batch.tickets == tickets and isinstance(failure, InternalFailure)
    device.put(5)
    assert device.results() == {5: Ranking([0], [0.2])}
    assert device.faults == ["device_worker"] * 3


def test_a_device_at_fault_returns_its_batch_after_a_fault_outside_the_run(device: WorkerHarness) -> None:
    device.must_be_removed = True
    device.queue.add_device("fake:1", 1)
    device.open_lane("fake:0", "fake:1")
    inject(device, "share_cores", ZeroDivisionError)
    ticket = device.put(2)
    device.start()
    assert device.removed.get(timeout=60) is not None
    wait_ended(device)
    assert ticket.stage is Stage.QUEUED and not device.outcome().items
    batch = device.queue.take_nowait("fake:1")
    assert batch is not None and batch.tickets == [ticket]


@pytest.mark.parametrize("error", FAULTS)
def test_a_fault_of_the_model_of_any_kind_fails_only_its_image(
    device: WorkerHarness, error: type[BaseException]
) -> None:
    def fail_on_poison() -> None:
        if POISON in device.fake.batches[-1]:
            raise error("injected")

    device.fake.before = fail_on_poison
    device.put(POISON), device.put(2)
    device.start()
    results: dict[int, Any] = device.results()
    assert isinstance(results[POISON], InternalFailure) and results[2] == Ranking([0], [0.5])


@pytest.mark.parametrize("error", FAULTS)
def test_a_fault_of_the_queue_restarts_the_worker(device: WorkerHarness, error: type[BaseException]) -> None:
    fault = FailsFirst(device.queue.take, error)
    device.queue.take = fault  # type: ignore[method-assign]
    device.start()
    assert fault.raised.wait(60)
    device.put(5)
    assert device.results() == {5: Ranking([0], [0.2])}
    assert device.faults == ["device_worker"] and device.removed.empty()


def test_a_worker_that_keeps_failing_without_a_batch_removes_its_device_and_ends(device: WorkerHarness) -> None:
    device.queue.take = FailsFirst(device.queue.take, ZeroDivisionError, 100)  # type: ignore[method-assign]
    device.start()
    assert device.removed.get(timeout=60) is None
    wait_ended(device)
    assert device.faults == ["device_worker"] * 4
