"""The device's thread runs batches, hands every ticket back once, and outlives whatever a model does."""

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
NO_NUMBERS = 99


class FakeModel:
    """Ranks a picture by its first pixel; raises on batches that hold POISON or are larger than fits."""

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
        return [Ranking(list(range(k)), [float("nan") if pixel == NO_NUMBERS else 1.0 / pixel] * k) for pixel in pixels]


class WatchedQueue(BatchQueue[RequestPayload]):
    """Keeps what the thread says of each batch when it takes the next one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.learnt: list[bool] = []

    def take(
        self, device: str, finished: Batch[RequestPayload] | None = None, learn: bool = True
    ) -> Batch[RequestPayload] | None:
        if finished is not None and finished.tickets:
            self.learnt.append(learn)
        return super().take(device, finished, learn)


class Device:
    """A queue, a fake model, the thread between them and its context; outcomes arrive in `outcomes`."""

    def __init__(self) -> None:
        self.now = 1.0
        self.fake = FakeModel()
        self.queue = WatchedQueue(lambda: self.now)
        self.queue.add_device("fake:0", 2)
        self.open_lane("fake:0")
        self.outcomes: queue.Queue[BatchOutcome] = queue.Queue()
        self.concurrent: list[int] = []
        self.begun: list[int] = []
        self.said_failed: list[bool] = []
        self.dies = False
        self.lost: queue.Queue[RequestBatch] = queue.Queue()
        self.concurrent_it: RequestBatch | None = None
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
        self.begun.append(batch.number)

    def batch_finished(self, batch: RequestBatch, outcome: BatchOutcome) -> None:
        assert batch.number == self.begun[-1], "a batch begins before it is handed back"
        self.outcomes.put(outcome)

    def must_remove_device(self, batch: RequestBatch, failed: bool) -> bool:
        self.said_failed.append(failed)
        return failed and self.dies

    def remove_device(self, batch: RequestBatch) -> None:
        self.queue.remove_device("fake:0", batch)
        self.lost.put(batch)

    def occupy(self) -> None:
        """Another worker of the device takes a batch, and is at it until the end."""
        self.concurrent_it = self.queue.take_nowait("fake:0")
        assert self.concurrent_it is not None

    def put(self, pixel: int, top_k: int = 1, timeout: float | None = None) -> RequestTicket:
        """A decoded picture of that colour is put before the device."""
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
        """The next batch's results by pixel."""
        return {item.ticket.payload.number: item.result for item in self.outcome().items}

    def finish(self) -> None:
        """Lets the thread run what there is, and end."""
        self.queue.close()
        self.queue.take_nowait("fake:0", self.concurrent_it)
        if self.ended is not None:
            self.loop.run_until_complete(asyncio.wait_for(self.ended, 60))


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    try:
        made.finish()
    finally:
        made.loop.close()


def test_each_caller_gets_its_own_ranking_cut_to_its_own_top_k(device: Device) -> None:
    device.put(2, top_k=1), device.put(4, top_k=3)
    device.start()
    results = device.results()
    assert results[2] == Ranking([0], [0.5])
    assert results[4] == Ranking([0, 1, 2], [0.25] * 3)
    assert device.fake.batches == [[2, 4]]


def test_an_outcome_tells_who_ran_how_many_for_how_long(device: Device) -> None:
    device.put(2), device.put(4)

    def pass_time() -> None:
        device.now += 0.25

    device.fake.before = pass_time
    device.start()
    outcome = device.outcome()
    assert (outcome.lane, outcome.device, outcome.size) == (LANE, "fake:0", 2)
    assert (outcome.inference_seconds, outcome.finished_at) == (0.25, 1.25)
    assert [(item.batch_size, item.inference_seconds) for item in outcome.items] == [(2, 0.25)] * 2


def test_a_guilty_image_fails_alone_and_its_neighbours_are_tried_again(
    device: Device, caplog: pytest.LogCaptureFixture
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


def test_before_each_run_it_says_how_many_batches_run_beside(device: Device) -> None:
    device.put(1)
    device.occupy()
    for pixel in (2, 3, 4, 5):
        device.put(pixel)
    device.start()
    device.results()
    assert device.concurrent == [1]


def test_whoever_asks_runs_what_waits_on_its_own_thread_and_hears_whether_anything_did(device: Device) -> None:
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


def test_a_device_that_is_lost_under_whoever_asks_runs_nothing_more(device: Device) -> None:
    device.dies = True
    device.put(POISON)
    worker = DeviceWorker("fake:0", device.queue, device, lambda: device.now)
    assert worker.run_pending()
    assert device.lost.get(timeout=60).tickets and not device.outcome().items
    assert not worker.run_pending()


def test_a_failing_image_alone_is_run_once(device: Device) -> None:
    device.put(POISON)
    device.start()
    assert isinstance(device.results()[POISON], InternalFailure)
    assert device.fake.batches == [[POISON]]


def test_the_thread_lives_on_after_a_failure(device: Device) -> None:
    device.put(POISON)
    device.start()
    device.results()
    device.put(5)
    assert device.results() == {5: Ranking([0], [0.2])}


@pytest.mark.parametrize("answers", [[], [Ranking([0], [0.5])] * 3], ids=["none", "too many"])
def test_the_thread_lives_on_after_a_wrong_number_of_answers(device: Device, answers: list[Ranking]) -> None:
    device.put(2), device.put(4)
    honest = device.fake.run
    device.fake.run = lambda images, k: answers  # type: ignore[method-assign]
    device.start()
    results = device.results()
    assert all(isinstance(results[pixel], InternalFailure) for pixel in (2, 4))
    device.fake.run = honest  # type: ignore[method-assign]
    device.put(5)
    assert device.results() == {5: Ranking([0], [0.2])}


@pytest.mark.parametrize("timeout", [1e9, 1e10, 1e15])
def test_a_deadline_in_the_far_future_is_as_good_as_none(device: Device, timeout: float) -> None:
    device.put(1)
    device.occupy()
    device.put(2, timeout=timeout)
    device.start()  # it waits for a full batch, until that deadline makes it run
    for pixel in (3, 4, 5):
        device.put(pixel)
    assert sorted(device.results()) == [2, 3, 4, 5]


def test_no_second_try_for_an_image_whose_caller_has_left(device: Device) -> None:
    device.put(POISON), device.put(2)
    cancelled = device.put(3)
    device.fake.before = lambda: device.queue.cancel(cancelled) and None
    device.start()
    assert len(device.results()) == 3
    assert device.fake.batches == [[POISON, 2, 3], [POISON], [2]]


def test_no_second_try_after_the_deadline(device: Device) -> None:
    device.put(2, timeout=5.0), device.put(POISON)

    def pass_the_deadline() -> None:
        device.now = 6.0

    device.fake.before = pass_the_deadline
    device.start()
    assert isinstance(device.results()[2], DeadlineExceeded)
    assert device.fake.batches == [[2, POISON], [POISON]]


def test_late_images_are_never_run_and_say_by_how_much_they_were_late(device: Device) -> None:
    device.put(2, timeout=1.0), device.put(4)
    device.now = 4.0
    device.start()
    results = device.results()
    assert isinstance(results[2], DeadlineExceeded) and results[2].late_by_seconds == pytest.approx(
        2.01
    )  # a run takes 0.01 s
    assert device.fake.batches == [[4]]


def test_an_image_dropped_shortly_before_its_deadline_says_how_late_its_answer_would_have_been(device: Device) -> None:
    device.put(2, timeout=1.0)
    device.now = 1.995  # a run takes 0.01 s
    device.start()
    failure = device.results()[2]
    assert isinstance(failure, DeadlineExceeded)
    assert failure.late_by_seconds > 0, "it cannot be late by less than nothing"
    assert device.fake.batches == []


def test_probabilities_that_are_no_numbers_fail_that_image_only(device: Device) -> None:
    device.put(NO_NUMBERS), device.put(4)
    device.start()
    results = device.results()
    assert isinstance(results[NO_NUMBERS], InternalFailure)
    assert results[4] == Ranking([0], [0.25])


def test_a_batch_too_large_for_the_memory_is_run_in_halves(device: Device) -> None:
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


def test_halves_of_an_odd_batch_hold_every_image_once(device: Device) -> None:
    device.fake.fits = 2
    for pixel in (1, 2, 4):
        device.put(pixel)
    device.start()
    assert len(device.results()) == 3
    assert device.fake.batches == [[1, 2, 4], [1, 2], [4]]


def test_a_half_that_is_too_large_again_fails_with_a_sentence_and_is_not_split_further(
    device: Device, caplog: pytest.LogCaptureFixture
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


def test_one_image_too_large_for_the_memory_fails_at_once(device: Device) -> None:
    device.fake.fits = 0
    device.put(1)
    device.start()
    assert isinstance(device.results()[1], InternalFailure)
    assert device.fake.batches == [[1]]


def test_a_half_that_fails_for_another_reason_is_tried_image_by_image(device: Device) -> None:
    device.fake.fits = 2
    for pixel in (1, POISON, 2, 4):
        device.put(pixel)
    device.start()
    results = device.results()
    assert [pixel for pixel, result in results.items() if isinstance(result, InternalFailure)] == [POISON]
    assert device.fake.batches == [[1, POISON, 2, 4], [1, POISON], [1], [POISON], [2, 4]]


def test_halves_leave_out_what_is_late_or_cancelled_by_then(device: Device) -> None:
    device.fake.fits = 3
    device.put(1, timeout=5.0), device.put(2), device.put(4)
    cancelled = device.put(5)

    def pass_the_deadline() -> None:
        device.now = 6.0
        device.queue.cancel(cancelled)

    device.fake.before = pass_the_deadline
    device.start()
    results = device.results()
    assert sorted(results) == [1, 2, 4, 5], "each comes back once"
    assert isinstance(results[1], DeadlineExceeded)
    assert device.fake.batches == [[1, 2, 4, 5], [2], [4]]


def test_a_lost_device_gives_its_batch_back_and_its_thread_ends(device: Device) -> None:
    device.dies = True
    device.queue.add_device("fake:1", 1)
    device.open_lane("fake:0", "fake:1")
    late = device.put(POISON + 1, timeout=1.0)
    ticket = device.put(POISON)
    device.now = 4.0
    device.start()
    outcome = device.outcome()
    assert [(item.ticket, type(item.result)) for item in outcome.items] == [(late, DeadlineExceeded)]
    assert (outcome.size, outcome.inference_seconds) == (0, 0.0)
    assert device.lost.get(timeout=60).tickets == [ticket]
    assert device.ended is not None
    device.loop.run_until_complete(asyncio.wait_for(device.ended, 60))
    assert ticket.stage is Stage.QUEUED and device.outcomes.empty()
    batch = device.queue.take_nowait("fake:1")
    assert batch is not None and batch.tickets == [ticket]


@pytest.mark.parametrize(
    ("pixels", "failed"),
    [((POISON,), True), ((NO_NUMBERS,), True), ((POISON, 2), False), ((2, 4), False), ((POISON, POISON), True)],
)
def test_the_context_is_told_whether_a_batch_failed_altogether(
    device: Device, pixels: tuple[int, ...], failed: bool
) -> None:
    for pixel in pixels:
        device.put(pixel)
    device.start()
    device.outcome()
    assert device.said_failed == [failed]


def test_a_batch_of_which_nothing_went_through_failed_whoever_left_meanwhile(device: Device) -> None:
    device.put(POISON)
    cancelled = device.put(2)
    device.fake.before = lambda: device.queue.cancel(cancelled) and None
    device.start()
    assert isinstance(device.results()[POISON], InternalFailure)
    assert device.said_failed == [True]


def test_a_batch_whose_images_are_all_late_says_nothing_of_the_device(device: Device) -> None:
    device.put(2, timeout=1.0)
    device.now = 4.0
    device.start()
    outcome = device.outcome()
    assert (outcome.size, outcome.inference_seconds) == (0, 0.0)
    assert device.said_failed == [] and device.concurrent == []


@pytest.mark.parametrize(
    ("pixels", "fits", "learns"),
    [
        ((1, 2), 4, True),
        ((1, 2), 1, False),
        ((POISON,), 4, False),
        ((POISON, 2), 4, False),
        ((NO_NUMBERS, 2), 4, False),
    ],
    ids=["went well", "in halves", "failed", "image by image", "no numbers"],
)
def test_only_a_batch_that_went_well_at_once_teaches_the_table(
    device: Device, pixels: tuple[int, ...], fits: int, learns: bool
) -> None:
    device.fake.fits = fits
    for pixel in pixels:
        device.put(pixel)
    device.start()
    device.outcome()
    device.finish()
    assert device.queue.learnt == [learns]
