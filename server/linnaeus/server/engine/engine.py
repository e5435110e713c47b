"""The engine: the one object that both answers requests and knows what is served.

A request is one straight line: resolve, admit, decode (in the pool), queue, run (on the device's thread), hand back.
Every method belongs to the event loop's thread, unless it says otherwise.
"""

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from linnaeus.models.manifest import InputSpec
from linnaeus.server.batching import AlreadyLate, BatchQueue, LaneLimits, QueueClosed, QueueFull, Stage
from linnaeus.server.config import Settings
from linnaeus.server.engine import answers
from linnaeus.server.engine.catalog import Catalog, Entry, Lane, State
from linnaeus.server.engine.decode import decode
from linnaeus.server.engine.decode_pool import DecodePool
from linnaeus.server.engine.device_thread import DeviceThread
from linnaeus.server.engine.observer import Observer, rejection_reason
from linnaeus.server.engine.repository import VersionFolder, scan
from linnaeus.server.engine.work import (
    BatchOutcome,
    BatchReport,
    Classification,
    Ranked,
    Request,
    Work,
    WorkTicket,
)
from linnaeus.server.errors import (
    DeadlineExceeded,
    InternalFailure,
    InvalidArgument,
    ModelRefused,
    Overloaded,
    RequestError,
    Unavailable,
)
from linnaeus.server.model_settings import model_settings
from linnaeus.server.runtime.device import CoreShare, default_streams, resolve_device
from linnaeus.server.runtime.model import Model, Ranking, load_model

logger = logging.getLogger(__name__)

DEFAULT_TOP_K = 5
_DRAINING_RETRY_SECONDS = 1.0
_SHORTEST_RETRY_SECONDS = 0.01


class Engine:
    """Serves the models of one repository on one device.

    Life: construct, `load` (the models become ready one by one), `classify` as often as wanted, `close`.
    """

    def __init__(self, settings: Settings, observer: Observer, clock: Callable[[], float] = time.monotonic) -> None:
        self.catalog = Catalog()
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._device = resolve_device(settings.device)
        self._queue: BatchQueue[Work] = BatchQueue(clock)
        self._models: dict[Lane, Model] = {}
        threads = settings.decode_threads or len(os.sched_getaffinity(0))
        in_background = settings.decode_priority == "background" and self._device.type == "cpu"
        self._decoders = DecodePool(threads, in_background)
        self._cores = CoreShare(self._device, settings.intra_op_threads)
        self._streams = [
            DeviceThread(self._queue, self._models.__getitem__, self._hand_back, clock, self._cores.take)
            for _ in range(settings.streams or default_streams(self._device))
        ]
        self._device_ended: asyncio.Future[list[None]] | None = None
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Requests admitted and not yet answered."""
        return self._in_flight

    def queue_depth(self, lane: Lane) -> int:
        """Images of a version that are being decoded or wait for the device. May be called from any thread."""
        return self._queue.depth(lane)

    async def load(self) -> None:
        """Loads every version of the repository, one after the other; a refused one does not stop the others.

        Raises:
            StartupError: the repository is missing or empty.
        """
        folders = scan(self._settings.repository, self._settings.wanted_models)
        for folder in folders:
            self.catalog.put(Entry(folder.model, folder.version, State.LOADING))
        self._device_ended = asyncio.gather(*(stream.start(self._loop) for stream in self._streams))
        for folder in folders:
            await self._load(folder)

    async def classify(self, request: Request) -> Classification:
        """Answers one request.

        Raises:
            RequestError: there is no answer; see `linnaeus.server.errors`.
            asyncio.CancelledError: the caller left; its image will not be run, if it has not been yet.
        """
        try:
            return await self._answer(request)
        except RequestError as error:
            known = request.model if self.catalog.knows(request.model) else ""
            self._observer.rejected(known, rejection_reason(error))
            raise

    async def _answer(self, request: Request) -> Classification:
        entry, model = self.catalog.resolve(request.model, request.version)
        top_k = _top_k(request, model)
        admitted_at = self._clock()
        request = _with_deadline(request, entry, admitted_at)
        ticket = self._admit(request, entry)
        answer: asyncio.Future[Ranked] = self._loop.create_future()
        self._in_flight += 1
        try:
            self._decoders.submit(
                partial(self._decode, ticket, request, model.manifest.input, top_k, answer, admitted_at)
            )
            ranked = await answer
        except asyncio.CancelledError:
            self._observer.cancelled(entry.name, self._queue.abandon(ticket).value)
            raise
        finally:
            self._in_flight -= 1
        return answers.classification(entry, model, ranked)

    async def close(self) -> None:
        """Admits nothing more, finishes what was admitted, then ends all threads. May be called twice."""
        self._queue.close()
        if self._device_ended is not None:
            await asyncio.shield(self._device_ended)
        self._decoders.close()

    async def _load(self, folder: VersionFolder) -> None:
        lane = (folder.model, folder.version)
        started = self._clock()
        try:
            chosen = model_settings(folder.path.parent, self._settings)
            model = await asyncio.to_thread(self._load_and_warm_up, folder, chosen.max_batch_size)
        except ModelRefused as error:
            logger.error("model %s/%d is refused: %s", folder.model, folder.version, error)
            self.catalog.refused(lane, str(error))
            return
        limits = LaneLimits(model.max_batch_size, chosen.max_queue_size, chosen.max_queue_delay_seconds)
        self._models[lane] = model
        self._queue.open_lane(lane, limits)
        seconds = self._clock() - started
        self.catalog.ready(lane, model, seconds, chosen.default_timeout_seconds)
        speeds = ", ".join(f"{timing.size}: {timing.images_per_second:.0f}/s" for timing in model.timings)
        logger.info(
            "model %s/%d is ready on %s after %.1f s (images a second by batch size: %s)",
            *(folder.model, folder.version, self._device, seconds, speeds),
        )

    def _load_and_warm_up(self, folder: VersionFolder, max_batch_size: int) -> Model:
        self._cores.take(0)  # batches are timed with all cores
        return load_model(folder.path, self._device, max_batch_size)

    def _admit(self, request: Request, entry: Entry) -> WorkTicket:
        try:
            return self._queue.admit(entry.lane, request.deadline)
        except QueueFull:
            depth = self._queue.depth(entry.lane)
            raise Overloaded(
                f"model {entry.name} has {depth} images waiting, as many as it may; try again later",
                self._time_to_serve(entry, depth),
            ) from None
        except AlreadyLate:
            raise DeadlineExceeded("the deadline had passed when the request arrived; allow more time", 0.0) from None
        except QueueClosed:
            raise Unavailable("the server is stopping; try another one", _DRAINING_RETRY_SECONDS) from None

    def _time_to_serve(self, entry: Entry, images: int) -> float:
        """How long the device needs for that many images, by the warm-up's timings."""
        timings = entry.model.timings if entry.model else ()
        fastest = max((timing.images_per_second for timing in timings), default=1.0)
        return max(images / fastest, _SHORTEST_RETRY_SECONDS)

    def _decode(
        self,
        ticket: WorkTicket,
        request: Request,
        spec: InputSpec,
        top_k: int,
        answer: "asyncio.Future[Ranked]",
        admitted_at: float,
    ) -> None:
        """Decodes one image and queues it; runs in the pool."""
        if ticket.stage is Stage.GONE:
            return
        started = self._clock()
        try:
            if request.deadline is not None and request.deadline <= started:
                late_by = started - request.deadline
                raise DeadlineExceeded("the deadline passed while the image waited for a decoder", late_by)
            pixels = decode(request.image, spec, self._settings.max_image_pixels)
        except RequestError as error:
            self._give_up(ticket, answer, error)
        except Exception as error:  # the boundary: a fault of ours must reach the caller, not vanish in the pool
            reference = uuid.uuid4().hex[:12]
            logger.error("decoding failed [%s]", reference, exc_info=error)
            self._give_up(ticket, answer, InternalFailure(f"decoding failed (log reference {reference})", reference))
        else:
            self._queue.put(ticket, Work(pixels, top_k, answer, admitted_at, self._clock() - started))

    def _give_up(self, ticket: WorkTicket, answer: "asyncio.Future[Ranked]", error: RequestError) -> None:
        """Ends a request that will not reach the device. May be called from any thread."""
        self._queue.abandon(ticket)
        self._loop.call_soon_threadsafe(answers.settle, answer, error)

    def _hand_back(self, outcome: BatchOutcome) -> None:
        """Brings a batch to the event loop in one step; runs on the device's thread."""
        self._loop.call_soon_threadsafe(self._deliver, outcome)

    def _deliver(self, outcome: BatchOutcome) -> None:
        now = self._clock()
        reports = []
        for item in outcome.items:
            if isinstance(item.result, Ranking):
                ranked = answers.ranked(item, item.result)
                answers.settle(item.work.answer, ranked)
                reports.append(answers.report(item.work, ranked, outcome.finished_at, now))
            else:
                answers.settle(item.work.answer, item.result)
        failed = sum(isinstance(item.result, InternalFailure) for item in outcome.items)
        name, version = outcome.lane
        self._observer.batch(BatchReport(name, version, outcome.size, reports, failed))


def _with_deadline(request: Request, entry: Entry, now: float) -> Request:
    """A caller who names no deadline gets the model's, if it has one."""
    if request.deadline is not None or not entry.default_timeout_seconds:
        return request
    return replace(request, deadline=now + entry.default_timeout_seconds)


def _top_k(request: Request, model: Model) -> int:
    """How many classes the caller wants; 0 means the default."""
    name, classes = model.manifest.name, model.manifest.classes
    if not 0 <= request.top_k <= classes:
        message = f"top_k is {request.top_k}, but model {name} has {classes} classes; 0 means the default"
        raise InvalidArgument("top_k", message)
    return request.top_k or min(DEFAULT_TOP_K, classes)
