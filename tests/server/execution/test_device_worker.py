"""Tests of the device worker: every ticket gets one outcome, and the worker survives every error of a model."""

import asyncio
import threading

import pytest
from tests.server.execution.worker_harness import LANE, NOT_FINITE, POISON, WorkerHarness

from linnaeus.server.errors import DeadlineExceeded, InternalFailure
from linnaeus.server.runtime.model import Ranking
from linnaeus.server.scheduling import Stage


def test_each_caller_gets_its_own_ranking_cut_to_its_own_top_k(device: WorkerHarness) -> None:
    device.put(2, top_k=1), device.put(4, top_k=3)
    device.start()
    results = device.results()
    assert results[2] == Ranking([0], [0.5])
    assert results[4] == Ranking([0, 1, 2], [0.25] * 3)
    assert device.fake.batches == [[2, 4]]


def test_an_outcome_has_its_device_size_and_time(device: WorkerHarness) -> None:
    device.put(2), device.put(4)

    def pass_time() -> None:
        device.now += 0.25

    device.fake.before = pass_time
    device.start()
    outcome = device.outcome()
    assert (outcome.lane, outcome.device, outcome.size) == (LANE, "fake:0", 2)
    assert (outcome.inference_seconds, outcome.finished_at) == (0.25, 1.25)
    assert [(item.batch_size, item.inference_seconds) for item in outcome.items] == [(2, 0.25)] * 2


def test_share_cores_gets_the_number_of_concurrent_batches(device: WorkerHarness) -> None:
    device.put(1)
    device.occupy()
    for pixel in (2, 3, 4, 5):
        device.put(pixel)
    device.start()
    device.results()
    assert device.concurrent == [1]


def test_the_thread_continues_after_a_failure(device: WorkerHarness) -> None:
    device.put(POISON)
    device.start()
    device.results()
    device.put(5)
    assert device.results() == {5: Ranking([0], [0.2])}


@pytest.mark.parametrize("answers", [[], [Ranking([0], [0.5])] * 3], ids=["none", "too many"])
def test_the_thread_continues_after_a_wrong_number_of_answers(device: WorkerHarness, answers: list[Ranking]) -> None:
    device.put(2), device.put(4)
    real_run = device.fake.run
    device.fake.run = lambda images, k: answers  # type: ignore[method-assign]
    device.start()
    results = device.results()
    assert all(isinstance(results[pixel], InternalFailure) for pixel in (2, 4))
    device.fake.run = real_run  # type: ignore[method-assign]
    device.put(5)
    assert device.results() == {5: Ranking([0], [0.2])}


@pytest.mark.parametrize("timeout", [1e9, 1e10, 1e15])
def test_a_deadline_in_the_far_future_does_not_overflow(device: WorkerHarness, timeout: float) -> None:
    device.put(1)
    device.occupy()
    device.put(2, timeout=timeout)
    device.start()  # waits for a full batch until shortly before the deadline
    for pixel in (3, 4, 5):
        device.put(pixel)
    assert sorted(device.results()) == [2, 3, 4, 5]


def test_late_images_are_never_run_and_their_errors_state_the_delay(device: WorkerHarness) -> None:
    device.put(2, timeout=1.0), device.put(4)
    device.now = 4.0
    device.start()
    results = device.results()
    assert isinstance(results[2], DeadlineExceeded) and results[2].late_by_seconds == pytest.approx(
        2.01
    )  # a run takes 0.01 s
    assert device.fake.batches == [[4]]


def test_the_error_of_an_image_dropped_before_its_deadline_states_the_expected_delay(device: WorkerHarness) -> None:
    device.put(2, timeout=1.0)
    device.now = 1.995  # a run takes 0.01 s
    device.start()
    failure = device.results()[2]
    assert isinstance(failure, DeadlineExceeded)
    assert failure.late_by_seconds > 0, "the delay is positive"
    assert device.fake.batches == []


def test_probabilities_that_are_not_finite_fail_only_their_image(device: WorkerHarness) -> None:
    device.put(NOT_FINITE), device.put(4)
    device.start()
    results = device.results()
    assert isinstance(results[NOT_FINITE], InternalFailure)
    assert results[4] == Ranking([0], [0.25])


def test_a_removed_device_returns_its_batch_and_its_thread_ends(device: WorkerHarness) -> None:
    device.must_be_removed = True
    device.queue.add_device("fake:1", 1)
    device.open_lane("fake:0", "fake:1")
    late = device.put(POISON + 1, timeout=1.0)
    ticket = device.put(POISON)
    device.now = 4.0
    device.start()
    outcome = device.outcome()
    assert [(item.ticket, type(item.result)) for item in outcome.items] == [(late, DeadlineExceeded)]
    assert (outcome.size, outcome.inference_seconds) == (0, 0.0)
    assert device.removed.get(timeout=60).tickets == [ticket]
    assert device.ended is not None
    device.loop.run_until_complete(asyncio.wait_for(device.ended, 60))
    assert ticket.stage is Stage.QUEUED and device.outcomes.empty()
    batch = device.queue.take_nowait("fake:1")
    assert batch is not None and batch.tickets == [ticket]


@pytest.mark.parametrize(
    ("pixels", "failed"),
    [((POISON,), True), ((NOT_FINITE,), True), ((POISON, 2), False), ((2, 4), False), ((POISON, POISON), True)],
)
def test_must_remove_device_gets_whether_no_image_succeeded(
    device: WorkerHarness, pixels: tuple[int, ...], failed: bool
) -> None:
    for pixel in pixels:
        device.put(pixel)
    device.start()
    device.outcome()
    assert device.failed_flags == [failed]


def test_a_batch_without_a_ranking_failed_even_if_some_images_were_cancelled(device: WorkerHarness) -> None:
    device.put(POISON)
    cancelled = device.put(2)
    device.fake.before = lambda: device.queue.cancel(cancelled) and None
    device.start()
    assert isinstance(device.results()[POISON], InternalFailure)
    assert device.failed_flags == [True]


def test_a_batch_of_only_late_images_does_not_count_for_the_devices_health(device: WorkerHarness) -> None:
    device.put(2, timeout=1.0)
    device.now = 4.0
    device.start()
    outcome = device.outcome()
    assert (outcome.size, outcome.inference_seconds) == (0, 0.0)
    assert device.failed_flags == [] and device.concurrent == []


@pytest.mark.parametrize(
    ("pixels", "fits", "learns"),
    [
        ((1, 2), 4, True),
        ((1, 2), 1, False),
        ((POISON,), 4, False),
        ((POISON, 2), 4, False),
        ((NOT_FINITE, 2), 4, False),
    ],
    ids=["success", "halves", "failure", "one by one", "not finite"],
)
def test_only_a_batch_without_failures_or_reruns_updates_the_latency_table(
    device: WorkerHarness, pixels: tuple[int, ...], fits: int, learns: bool
) -> None:
    device.fake.fits = fits
    for pixel in pixels:
        device.put(pixel)
    device.start()
    device.outcome()
    device.finish()
    assert device.queue.learn_flags == [learns]


@pytest.mark.parametrize("device", [True], ids=["short"], indirect=True)
def test_run_short_runs_one_batch_on_the_calling_thread_and_returns_whether_any_ran(device: WorkerHarness) -> None:
    threads: list[int] = []
    device.fake.before = lambda: threads.append(threading.get_ident())
    worker = device.worker()
    assert not worker.run_short()
    for pixel in (1, 2, 3, 4, 5):
        device.put(pixel)
    assert worker.run_short() and worker.run_short() and not worker.run_short()
    assert device.fake.batches == [[1, 2, 3, 4], [5]] and threads == [threading.get_ident()] * 2
    assert [device.outcome().size, device.outcome().size] == [4, 1]


@pytest.mark.parametrize("device", [True], ids=["short"], indirect=True)
def test_run_short_stops_once_the_device_is_removed(device: WorkerHarness) -> None:
    device.must_be_removed = True
    device.put(POISON)
    worker = device.worker()
    assert worker.run_short()
    assert device.removed.get(timeout=60).tickets and not device.outcome().items
    assert not worker.run_short()
