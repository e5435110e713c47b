"""A device worker with its queue and a fake model, for the tests of the worker."""

import asyncio
import queue
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy

from linnaeus.models.manifest import InputSpec
from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.execution.device_worker import DeviceWorker
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import BatchOutcome, RequestBatch, RequestPayload, RequestTicket
from linnaeus.server.runtime.model import OutOfMemory, Ranking
from linnaeus.server.scheduling import Batch, BatchQueue, LaneLimits, LatencyTable

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

    def run(self, images: Sequence[Any], k: int, want_features: bool = False) -> list[Ranking]:
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

    def __init__(self, clock: Callable[[], float], runs_short_apart: bool) -> None:
        super().__init__(clock, runs_short_apart=runs_short_apart)
        self.learn_flags: list[bool] = []

    def take(
        self, device: str, finished: Batch[RequestPayload] | None = None, learn: bool = True
    ) -> Batch[RequestPayload] | None:
        if finished is not None and finished.tickets:
            self.learn_flags.append(learn)
        return super().take(device, finished, learn)


class WorkerHarness:
    """A worker with its queue and a fake model; the worker's context, whose outcomes arrive in `outcomes`.

    Args:
        is_short: whether the model's runs are short, and run by `run_short`.
    """

    def __init__(self, is_short: bool = False) -> None:
        self.is_short = is_short
        self.now = 1.0
        self.fake = FirstPixelModel()
        self.queue = WatchedQueue(lambda: self.now, is_short)
        self.queue.add_device("fake:0", 2)
        self.open_lane("fake:0")
        self.outcomes: queue.Queue[BatchOutcome] = queue.Queue()
        self.concurrent: list[int] = []
        self.started: list[int] = []
        self.failed_flags: list[bool] = []
        self.must_be_removed = False
        self.faults: list[str] = []
        self.escaped: list[RequestBatch] = []
        self.lost: queue.Queue[tuple[RequestBatch, InternalFailure]] = queue.Queue()
        self.removed: queue.Queue[RequestBatch | None] = queue.Queue()
        self.second_workers_batch: RequestBatch | None = None
        self.loop = asyncio.new_event_loop()
        self.ended: asyncio.Future[None] | None = None

    def open_lane(self, *devices: str) -> None:
        limits = LaneLimits(max_batch_size=4, max_queue_size=100, is_short=self.is_short)
        self.queue.open_lane(LANE, limits, {name: LatencyTable({1: 0.01, 4: 0.02}) for name in devices})

    def start(self) -> None:
        self.ended = self.worker().start(self.loop)

    def worker(self) -> DeviceWorker:
        return DeviceWorker("fake:0", self.queue, self, lambda: self.now, Supervisor(self.faults.append))

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

    def must_remove_after_escape(self, batch: RequestBatch) -> bool:
        self.escaped.append(batch)
        return self.must_be_removed

    def batch_lost(self, batch: RequestBatch, error: InternalFailure) -> None:
        self.lost.put((batch, error))

    def remove_device(self, batch: RequestBatch | None) -> None:
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
