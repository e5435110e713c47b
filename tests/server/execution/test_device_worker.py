"""Tests of the device worker: every ticket gets one outcome, and the worker survives every error of a model."""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from linnaeus.models.manifest import InputSpec
from linnaeus.server.errors import DeadlineExceeded, InternalFailure, RequestError
from linnaeus.server.execution.device_worker import DeviceWorker
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import BatchOutcome, RequestBatch, RequestPayload, RequestTicket
from linnaeus.server.runtime.model import OutOfMemory, Ranking
from linnaeus.server.scheduling import Batch, BatchQueue, LaneLimits, LatencyTable, Stage

LANE = ("fake", 1)
SPEC = InputSpec(channels=1, height=2, width=2, resize=2, interpolation="bilinear")
POISON = 13
NOT_FINITE = 99


class FirstPixelModel:
    """A model that ranks an image by its first pixel; raises on batches that contain POISON or exceed `fits`."""

    manifest = SimpleNamespace(name="fake", version=1)

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.fits = 100
        self.before: Callable[[], None] = lambda: None

    def run(self, images: Sequence[Any], k: int) -> list[Ranking]:
        pixels = [int(image.flat[0]) for image in images]
        self.batches.append(pixels)
        self.before()
        if len(pixels) > self.fits:
            raise OutOfMemory("too little")
        if POISON in pixels:
            raise RuntimeError("poisoned")
        return [Ranking(list(range(k)), [float("nan") if pixel == NOT_FINITE else 1.0 / pixel] * k) for pixel in pixels]


class WatchedQueue(BatchQueue[RequestPayload]):
    """A queue that records the worker's `learn` argument for each batch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.learn_flags: list[bool] = []

    def take(
        self, device: str, finished: Batch[RequestPayload] | None = None, learn: bool = True
    ) -> Batch[RequestPayload] | None:
        if finished is not None and finished.tickets:
            self.learn_flags.append(learn)
        return super().take(device, finished, learn)


class WorkerHarness:
    """A worker with its queue and a fake model; the worker's context, whose outcomes arrive in `outcomes`."""

    def __init__(self) -> None:
        self.now = 1.0
        self.fake = FirstPixelModel()
        self.queue = WatchedQueue(lambda: self.now)
        self.queue.add_device("fake:0", 2)
        self.open_lane("fake:0")
        self.outcomes: queue.Queue[BatchOutcome] = queue.Queue()
        self.concurrent: list[int] = []
        self.started: list[int] = []
        self.failed_flags: list[bool] = []
        self.must_be_removed = False
        self.removed: queue.Queue[RequestBatch] = queue.Queue()
        self.second_workers_batch: RequestBatch | None = None
        self.loop = asyncio.new_event_loop()
        self.ended: asyncio.Future[None] | None = None

    def open_lane(self, *devices: str) -> None:
        limits = LaneLimits(max_batch_size=4, max_queue_size=100)
        self.queue.open_lane(LANE, limits, {name: LatencyTable({1: 0.01, 4: 0.02}) for name in devices})

    def start(self) -> None:
        self.ended = DeviceWorker("fake:0", self.queue, self, lambda: self.now).start(self.loop)

    def model(self, lane: tuple[str, int]) -> Any:
        assert lane == LANE
        return self.fake

    def share_cores(self, batch: RequestBatch) -> None:
        self.concurrent.append(batch.concurrent)

    def batch_started(self, batch: RequestBatch) -> None:
        self.started.append(batch.number)

    def batch_finished(self, batch: RequestBatch, outcome: BatchOutcome) -> None:
        assert batch.number == self.started[-1], "a batch starts before it finishes"
        self.outcomes.put(outcome)

    def must_remove_device(self, batch: RequestBatch, failed: bool) -> bool:
        self.failed_flags.append(failed)
        return failed and self.must_be_removed

    def remove_device(self, batch: RequestBatch) -> None:
        self.queue.remove_device("fake:0", batch)
        self.removed.put(batch)

    def occupy(self) -> None:
        """Takes a batch as a second worker of the device, which keeps it until `finish`."""
        self.second_workers_batch = self.queue.take_nowait("fake:0")
        assert self.second_workers_batch is not None

    def put(self, pixel: int, top_k: int = 1, timeout: float | None = None) -> RequestTicket:
        """Queues a decoded image of one colour for the device."""
        payload = RequestPayload(pixel, RawPixels(b"", 2, 2, 1), SPEC, top_k, self.loop.create_future())
        payload.pixels = numpy.full((2, 2, 1), pixel, numpy.uint8)
        ticket = self.queue.admit(LANE, payload, None if timeout is None else self.now + timeout)
        turn = self.queue.next_to_decode_nowait()
        assert turn is not None and turn.tickets == [ticket]
        self.queue.put({ticket: 0.0})
        return ticket

    def outcome(self) -> BatchOutcome:
        return self.outcomes.get(timeout=60)

    def results(self) -> dict[int, Ranking | RequestError]:
        """Returns the next batch's results by pixel value."""
        return {item.ticket.payload.number: item.result for item in self.outcome().items}

    def finish(self) -> None:
        """Closes the queue and waits for the worker's thread."""
        self.queue.close()
        self.queue.take_nowait("fake:0", self.second_workers_batch)
        if self.ended is not None:
            self.loop.run_until_complete(asyncio.wait_for(self.ended, 60))


@pytest.fixture
def device() -> Iterator[WorkerHarness]:
    made = WorkerHarness()
    yield made
    try:
        made.finish()
    finally:
        made.loop.close()


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


def test_an_image_at_fault_fails_alone_and_the_others_are_rerun(
    device: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    for pixel in (1, POISON, 2):
        device.put(pixel)
    device.start()
    results = device.results()
    failure = results[POISON]
    assert isinstance(failure, InternalFailure)
    assert failure.reference in str(failure) and failure.reference in caplog.text
    assert results[1] == Ranking([0], [1.0]) and results[2] == Ranking([0], [0.5])
    assert device.fake.batches == [[1, POISON, 2], [1], [POISON], [2]]


def test_share_cores_gets_the_number_of_concurrent_batches(device: WorkerHarness) -> None:
    device.put(1)
    device.occupy()
    for pixel in (2, 3, 4, 5):
        device.put(pixel)
    device.start()
    device.results()
    assert device.concurrent == [1]


def test_run_pending_runs_batches_on_the_calling_thread_and_returns_whether_any_ran(device: WorkerHarness) -> None:
    threads: list[int] = []
    device.fake.before = lambda: threads.append(threading.get_ident())
    worker = DeviceWorker("fake:0", device.queue, device, lambda: device.now)
    assert not worker.run_pending()
    for pixel in (1, 2, 3, 4, 5):
        device.put(pixel)
    assert worker.run_pending()
    assert device.fake.batches == [[1, 2, 3, 4], [5]] and threads == [threading.get_ident()] * 2
    assert [device.outcome().size, device.outcome().size] == [4, 1]
    assert not worker.run_pending()


def test_run_pending_stops_once_the_device_is_removed(device: WorkerHarness) -> None:
    device.must_be_removed = True
    device.put(POISON)
    worker = DeviceWorker("fake:0", device.queue, device, lambda: device.now)
    assert worker.run_pending()
    assert device.removed.get(timeout=60).tickets and not device.outcome().items
    assert not worker.run_pending()


def test_a_failing_image_alone_in_its_batch_is_not_rerun(device: WorkerHarness) -> None:
    device.put(POISON)
    device.start()
    assert isinstance(device.results()[POISON], InternalFailure)
    assert device.fake.batches == [[POISON]]


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


def test_a_cancelled_image_is_not_rerun(device: WorkerHarness) -> None:
    device.put(POISON), device.put(2)
    cancelled = device.put(3)
    device.fake.before = lambda: device.queue.cancel(cancelled) and None
    device.start()
    assert len(device.results()) == 3
    assert device.fake.batches == [[POISON, 2, 3], [POISON], [2]]


def test_an_image_past_its_deadline_is_not_rerun(device: WorkerHarness) -> None:
    device.put(2, timeout=5.0), device.put(POISON)

    def pass_the_deadline() -> None:
        device.now = 6.0

    device.fake.before = pass_the_deadline
    device.start()
    assert isinstance(device.results()[2], DeadlineExceeded)
    assert device.fake.batches == [[2, POISON], [POISON]]


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


def test_a_batch_too_large_for_the_memory_is_run_in_halves(device: WorkerHarness) -> None:
    device.fake.fits = 2
    for pixel in (1, 2, 4, 5):
        device.put(pixel)
    device.start()
    outcome = device.outcome()
    assert {item.ticket.payload.number: item.result for item in outcome.items} == {
        pixel: Ranking([0], [1.0 / pixel]) for pixel in (1, 2, 4, 5)
    }
    assert device.fake.batches == [[1, 2, 4, 5], [1, 2], [4, 5]]
    assert [item.batch_size for item in outcome.items] == [2] * 4


def test_halves_of_an_odd_batch_hold_every_image_once(device: WorkerHarness) -> None:
    device.fake.fits = 2
    for pixel in (1, 2, 4):
        device.put(pixel)
    device.start()
    assert len(device.results()) == 3
    assert device.fake.batches == [[1, 2, 4], [1, 2], [4]]


def test_a_half_that_is_too_large_fails_and_is_not_split_further(
    device: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    device.fake.fits = 1
    for pixel in (1, 2, 4):
        device.put(pixel)
    device.start()
    results = device.results()
    assert device.fake.batches == [[1, 2, 4], [1, 2], [4]]
    assert results[4] == Ranking([0], [0.25])
    for pixel in (1, 2):
        failure = results[pixel]
        assert isinstance(failure, InternalFailure)
        assert str(failure).startswith("the device has too little memory left for model fake/1")
        assert failure.reference in str(failure) and failure.reference in caplog.text


def test_one_image_too_large_for_the_memory_fails_at_once(device: WorkerHarness) -> None:
    device.fake.fits = 0
    device.put(1)
    device.start()
    assert isinstance(device.results()[1], InternalFailure)
    assert device.fake.batches == [[1]]


def test_a_half_that_fails_for_another_reason_is_rerun_image_by_image(device: WorkerHarness) -> None:
    device.fake.fits = 2
    for pixel in (1, POISON, 2, 4):
        device.put(pixel)
    device.start()
    results = device.results()
    assert [pixel for pixel, result in results.items() if isinstance(result, InternalFailure)] == [POISON]
    assert device.fake.batches == [[1, POISON, 2, 4], [1, POISON], [1], [POISON], [2, 4]]


def test_halves_leave_out_late_and_cancelled_images(device: WorkerHarness) -> None:
    device.fake.fits = 3
    device.put(1, timeout=5.0), device.put(2), device.put(4)
    cancelled = device.put(5)

    def pass_the_deadline() -> None:
        device.now = 6.0
        device.queue.cancel(cancelled)

    device.fake.before = pass_the_deadline
    device.start()
    results = device.results()
    assert sorted(results) == [1, 2, 4, 5], "each image has one result"
    assert isinstance(results[1], DeadlineExceeded)
    assert device.fake.batches == [[1, 2, 4, 5], [2], [4]]


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
