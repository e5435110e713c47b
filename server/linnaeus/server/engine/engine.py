"""The engine: the one object that both answers requests and knows what is served.

A request is one straight line: resolve, admit, decode (a decoder pulls it), queue, run (a device pulls it), hand back.
Every method belongs to the event loop's thread, unless it says otherwise.
"""

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from linnaeus.server.batching import BatchQueue, Foreseen, Stage
from linnaeus.server.config import Settings
from linnaeus.server.engine import answers, loading
from linnaeus.server.engine.admission import admit, no_device, too_late
from linnaeus.server.engine.catalog import Catalog, Entry, Lane, State
from linnaeus.server.engine.decoders import Decoders
from linnaeus.server.engine.device_pool import DevicePool
from linnaeus.server.engine.observer import Observer, rejection_reason
from linnaeus.server.engine.repository import VersionFolder, scan
from linnaeus.server.engine.trace import NoTrace, Trace
from linnaeus.server.engine.work import (
    BatchOutcome,
    BatchReport,
    Classification,
    Request,
    Work,
    WorkBatch,
    WorkTicket,
    lane_of,
)
from linnaeus.server.errors import InternalFailure, InvalidArgument, ModelRefused, RequestError
from linnaeus.server.model_settings import model_settings
from linnaeus.server.runtime.device import CoreShare, resolve_devices
from linnaeus.server.runtime.model import Model, Ranking

logger = logging.getLogger(__name__)

DEFAULT_TOP_K = 5


class Engine:
    """Serves the models of one repository on the devices that they name.

    Life: construct, `load` (the models become ready one by one), `classify` as often as wanted, `close`.

    Attributes:
        catalog: what is served.
        losses: gets the name of each device that is taken out.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        trace: Trace | None = None,
    ) -> None:
        self.catalog = Catalog()
        self.losses: asyncio.Queue[str] = asyncio.Queue()
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._trace = trace or NoTrace()
        self._loop = asyncio.get_running_loop()
        resolve_devices(settings.device)  # a name that means nothing ends the start, not the loading of every model
        decoders = settings.decode_threads or len(os.sched_getaffinity(0))
        self._queue: BatchQueue[Work] = BatchQueue(clock, decoders)
        in_background = settings.decode_priority == "background"
        self._decoders = Decoders(self._queue, self._give_up, decoders, in_background, settings.max_image_pixels, clock)
        self._devices = DevicePool(
            self._queue,
            settings.streams,
            settings.intra_op_threads,
            clock,
            began=self._began,
            hand_back=self._hand_back,
            strand=self._strand,
            lost=self._lose,
        )
        self._in_flight = 0
        self._numbers = itertools.count(1)

    @property
    def in_flight(self) -> int:
        """Requests admitted and not yet answered."""
        return self._in_flight

    @property
    def device_states(self) -> dict[str, bool]:
        """Every device by name, and whether it runs batches. May be called from any thread."""
        return self._devices.states

    def queue_depth(self, lane: Lane) -> int:
        """Images of a version that wait for a decoder or a device. May be called from any thread."""
        return self._queue.depth(lane)

    def foreseen(self, lane: Lane) -> Foreseen:
        """How well a ready version's answers are predicted. May be called from any thread."""
        return self._queue.foreseen(lane)

    def batch_seconds(self, lane: Lane) -> dict[str, dict[int, float]]:
        """How long a ready version's batches now take, by device and size. May be called from any thread."""
        return self._queue.batch_seconds(lane)

    async def load(self) -> None:
        """Loads every version of the repository, one after the other; a refused one does not stop the others.

        Raises:
            StartupError: the repository is missing or empty.
        """
        folders = scan(self._settings.repository, self._settings.wanted_models)
        for folder in folders:
            self.catalog.put(Entry(folder.model, folder.version, State.LOADING))
        self._decoders.start()
        for folder in folders:
            await self._load(folder)

    async def classify(self, request: Request) -> Classification:
        """Answers one request.

        Raises:
            RequestError: there is no answer; see `linnaeus.server.errors`.
            asyncio.CancelledError: the caller left; its image will not be run, if it has not been yet.
        """
        number = next(self._numbers)
        outcome = "failed"
        try:
            classification = await self._answer(request, number)
            outcome = "answered"
            return classification
        except RequestError as error:
            known = request.model if self.catalog.knows(request.model) else ""
            outcome = rejection_reason(error)
            self._observer.rejected(known, outcome)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._trace.write("ended", self._clock(), request=number, outcome=outcome)

    async def _answer(self, request: Request, number: int) -> Classification:
        entry, model = self.catalog.resolve(request.model, request.version)
        top_k = _top_k(request, model)
        request = _with_deadline(request, entry, self._clock())
        work = Work(number, request.image, model.manifest.input, top_k, self._loop.create_future())
        ticket = self._admit(entry, request, work)
        self._in_flight += 1
        end = self._end_at(ticket)
        try:
            ranked = await work.answer
        except asyncio.CancelledError:
            self._observer.cancelled(entry.name, self._queue.abandon(ticket).value)
            raise
        finally:
            end()
            self._in_flight -= 1
        return answers.classification(entry, model, ranked)

    async def close(self) -> None:
        """Admits nothing more, finishes what was admitted, then ends all threads. May be called twice."""
        self._queue.close()
        await self._devices.ended()

    async def _load(self, folder: VersionFolder) -> None:
        lane = (folder.model, folder.version)
        started = self._clock()
        try:
            chosen = model_settings(folder.path.parent, self._settings)
            threads = self._settings.intra_op_threads
            devices = {device: CoreShare(device, threads) for device in loading.devices_of(chosen)}
            models = await asyncio.to_thread(
                loading.load_on_each, folder, devices, chosen.max_batch_size, chosen.cuda_graphs
            )
        except ModelRefused as error:
            logger.error("model %s/%d is refused: %s", folder.model, folder.version, error)
            self.catalog.refused(lane, str(error))
            return
        limits, tables = loading.lane_of(models, chosen)
        for model in models:
            self._devices.place(lane, model)
        self._queue.open_lane(lane, limits, tables)
        seconds = self._clock() - started
        self.catalog.ready(lane, models, limits.max_batch_size, seconds, chosen.default_timeout_seconds)
        loading.log_ready(folder, models, seconds)

    def _admit(self, entry: Entry, request: Request, work: Work) -> WorkTicket:
        told = {
            "request": work.number,
            "model": entry.name,
            "version": entry.version,
            "priority": request.priority.name.lower(),
            "deadline": request.deadline,
        }
        try:
            ticket = admit(self._queue, entry, request, work)
        except RequestError as error:
            self._trace.write("refused", self._clock(), **told, reason=rejection_reason(error))
            raise
        self._trace.write("admitted", ticket.admitted_at, **told, predicted=ticket.predicted_at)
        return ticket

    def _end_at(self, ticket: WorkTicket) -> Callable[[], None]:
        """Ends a request at its deadline, wherever its image is by then; returns what calls that off."""
        if ticket.deadline is None:
            return _nothing
        return self._loop.call_later(max(ticket.deadline - self._clock(), 0.0), self._expire, ticket).cancel

    def _expire(self, ticket: WorkTicket) -> None:
        stood = self._queue.abandon(ticket, left=False)
        if stood is not Stage.GONE:  # otherwise what became of it is on its way
            answers.settle(ticket.payload.answer, too_late(ticket, self._clock(), f"was at the stage {stood.value}"))

    def _give_up(self, ticket: WorkTicket, error: RequestError) -> None:
        """Ends a request that will not reach a device. May be called from any thread."""
        self._queue.abandon(ticket, left=False)
        self._trace.write("dropped", self._clock(), request=ticket.payload.number, reason=rejection_reason(error))
        self._loop.call_soon_threadsafe(answers.settle, ticket.payload.answer, error)

    def _began(self, batch: WorkBatch) -> None:
        """Notes a batch; runs on its device's thread."""
        if batch.tickets:
            name, version = lane_of(batch)
            numbers = [ticket.payload.number for ticket in batch.tickets]
            told = {"batch": batch.number, "device": batch.device, "model": name, "version": version}
            self._trace.write("batch", batch.taken_at, **told, requests=numbers)
        for ticket in batch.late:
            self._trace.write("dropped", batch.taken_at, request=ticket.payload.number, reason="deadline")

    def _hand_back(self, batch: WorkBatch, outcome: BatchOutcome) -> None:
        """Brings a batch to the event loop in one step; runs on the device's thread."""
        if outcome.size:
            failed = any(isinstance(item.result, InternalFailure) for item in outcome.items)
            self._trace.write("ran", outcome.finished_at, batch=batch.number, succeeded=not failed)
        self._loop.call_soon_threadsafe(self._deliver, outcome)

    def _deliver(self, outcome: BatchOutcome) -> None:
        now = self._clock()
        reports = []
        for item in outcome.items:
            if item.ticket.payload.answer.done():
                continue  # its caller left
            if isinstance(item.result, Ranking):
                ranked = answers.ranked(item, item.result)
                answers.settle(item.ticket.payload.answer, ranked)
                reports.append(answers.report(item.ticket, ranked, outcome.finished_at, now))
            else:
                answers.settle(item.ticket.payload.answer, item.result)
        self._queue.answered([item.ticket for item in outcome.items])
        failed = sum(isinstance(item.result, InternalFailure) for item in outcome.items)
        name, version = outcome.lane
        self._observer.batch(BatchReport(name, version, outcome.size, reports, failed))

    def _lose(self, device: str) -> None:
        """Tells of a device that was taken out; runs on its thread."""
        self._loop.call_soon_threadsafe(self.losses.put_nowait, device)

    def _strand(self, tickets: Iterable[WorkTicket]) -> None:
        """Ends the requests that no device is left for; runs on the lost device's thread."""
        for ticket in tickets:
            name, _ = lane_of(ticket)
            self._loop.call_soon_threadsafe(answers.settle, ticket.payload.answer, no_device(name))


def _nothing() -> None:
    """There is no deadline to call off."""


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
