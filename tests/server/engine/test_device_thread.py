"""The device's thread runs batches, hands every ticket back once, and outlives whatever a model does."""

import asyncio
import queue
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from linnaeus.server.batching import BatchQueue, LaneLimits
from linnaeus.server.engine.device_thread import DeviceThread
from linnaeus.server.engine.work import BatchOutcome, Work
from linnaeus.server.errors import DeadlineExceeded, InternalFailure, RequestError
from linnaeus.server.runtime.model import Ranking

LANE = ("fake", 1)
POISON = 13


class FakeModel:
    """Ranks a picture by its first pixel; raises on batches that hold POISON, gives NaN for 99."""

    manifest = SimpleNamespace(name="fake", version=1)

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def run(self, images: Sequence[Any], k: int) -> list[Ranking]:
        pixels = [int(image.flat[0]) for image in images]
        self.batches.append(pixels)
        if POISON in pixels:
            raise RuntimeError("poisoned")
        return [Ranking(list(range(k)), [float("nan") if pixel == 99 else 1.0 / pixel] * k) for pixel in pixels]


class Device:
    """A queue, a fake model and the thread between them; outcomes arrive in `outcomes`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.model = FakeModel()
        self.queue: BatchQueue[Work] = BatchQueue(lambda: self.now)
        self.queue.open_lane(LANE, LaneLimits(max_batch_size=4, max_queue_size=100))
        self.outcomes: queue.Queue[BatchOutcome] = queue.Queue()
        models: Any = {LANE: self.model}
        self.others: list[int] = []
        self.thread = DeviceThread(
            self.queue, models.__getitem__, self.outcomes.put, lambda: self.now, self.others.append
        )
        self.loop = asyncio.new_event_loop()
        self.ended: asyncio.Future[None] | None = None

    def start(self) -> None:
        self.ended = self.thread.start(self.loop)

    def put(self, pixel: int, top_k: int = 1, deadline: float | None = None) -> Any:
        ticket = self.queue.admit(LANE, deadline)
        pixels = numpy.full((2, 2, 1), pixel, numpy.uint8)
        self.queue.put(ticket, Work(pixels, top_k, self.loop.create_future(), 0.0, 0.0))
        return ticket

    def results(self) -> dict[int, Ranking | RequestError]:
        """The next batch's results by pixel."""
        outcome = self.outcomes.get(timeout=10)
        return {int(item.work.pixels.flat[0]): item.result for item in outcome.items}


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.queue.close()
    if made.ended is not None:
        made.loop.run_until_complete(made.ended)
    made.loop.close()


def test_each_caller_gets_its_own_ranking_cut_to_its_own_top_k(device: Device) -> None:
    device.put(2, top_k=1), device.put(4, top_k=3)
    device.start()
    results = device.results()
    assert results[2] == Ranking([0], [0.5])
    assert results[4] == Ranking([0, 1, 2], [0.25] * 3)
    assert device.model.batches == [[2, 4]]


def test_a_guilty_image_fails_alone_and_its_neighbours_are_tried_again(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    for pixel in (1, POISON, 2):
        device.put(pixel)
    device.start()
    results = device.results()
    assert isinstance(results[POISON], InternalFailure)
    assert results[POISON].reference in str(results[POISON])
    assert results[POISON].reference in caplog.text
    assert results[1] == Ranking([0], [1.0]) and results[2] == Ranking([0], [0.5])
    assert device.model.batches == [[1, POISON, 2], [1], [POISON], [2]]


def test_before_each_run_it_says_how_many_batches_run_beside(device: Device) -> None:
    device.put(1)
    assert device.queue.take() is not None  # by another stream, which is still at it
    for pixel in (2, 3, 4, 5):
        device.put(pixel)
    device.start()
    device.results()
    assert device.others == [1]


def test_a_failing_image_alone_is_run_once(device: Device) -> None:
    device.put(POISON)
    device.start()
    assert isinstance(device.results()[POISON], InternalFailure)
    assert device.model.batches == [[POISON]]


def test_the_thread_lives_on_after_a_failure(device: Device) -> None:
    device.put(POISON)
    device.start()
    device.results()
    device.put(5)
    assert device.results() == {5: Ranking([0], [0.2])}


def test_no_second_try_for_an_image_whose_caller_has_left(device: Device) -> None:
    device.put(POISON), device.put(2)
    leaver = device.put(3)

    def run(images: Sequence[Any], k: int, run: Any = device.model.run) -> list[Ranking]:
        device.queue.abandon(leaver)
        return run(images, k)  # type: ignore[no-any-return]

    device.model.run = run  # type: ignore[method-assign]
    device.start()
    assert len(device.results()) == 3
    assert device.model.batches == [[POISON, 2, 3], [POISON], [2]]


def test_no_second_try_after_the_deadline(device: Device) -> None:
    device.put(POISON), device.put(2, deadline=5.0)

    def run(images: Sequence[Any], k: int, run: Any = device.model.run) -> list[Ranking]:
        device.now = 5.0
        return run(images, k)  # type: ignore[no-any-return]

    device.model.run = run  # type: ignore[method-assign]
    device.start()
    assert isinstance(device.results()[2], DeadlineExceeded)
    assert device.model.batches == [[POISON, 2], [POISON]]


def test_late_images_are_never_run_and_say_by_how_much_they_were_late(device: Device) -> None:
    device.put(2, deadline=1.0), device.put(4)
    device.now = 3.0
    device.start()
    results = device.results()
    assert isinstance(results[2], DeadlineExceeded) and results[2].late_by_seconds == 2.0
    assert device.model.batches == [[4]]


def test_probabilities_that_are_no_numbers_fail_that_image_only(device: Device) -> None:
    device.put(99), device.put(4)
    device.start()
    results = device.results()
    assert isinstance(results[99], InternalFailure)
    assert results[4] == Ranking([0], [0.25])
