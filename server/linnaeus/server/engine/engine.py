"""The engine: the one object that both answers requests and knows what is served.

A request is one straight line: resolve, admit, decode (a decoder pulls it), queue, run (a device pulls it), hand back.
Every method belongs to the event loop's thread, unless it says otherwise.
"""

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from linnaeus.server.batching import BatchQueue, Foreseen, Stage
from linnaeus.server.config import Settings
from linnaeus.server.engine import answers, loading
from linnaeus.server.engine.admission import admit, no_device, too_late
from linnaeus.server.engine.catalog import Catalog, Entry, Lane, State
from linnaeus.server.engine.decoders import Decoders
from linnaeus.server.engine.device_pool import DevicePool
from linnaeus.server.engine.flights import (
    Awaited,
    Flight,
    Outcome,
    Settled,
    raise_if_all_may_come_back,
    with_time_to_travel,
)
from linnaeus.server.engine.observer import Observer, rejection_reason
from linnaeus.server.engine.repository import VersionFolder, scan
from linnaeus.server.engine.trace import NoTrace, Trace
from linnaeus.server.engine.work import (
    BatchOutcome,
    BatchReport,
    Classification,
    Ranked,
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
        closing: set once nothing more is admitted, so that whoever streams may end.
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
        self.closing = asyncio.Event()
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
        answer: asyncio.Future[Classification] = self._loop.create_future()
        flight = self.begin(request, partial(_settle, answer))
        try:
            return await answer
        except asyncio.CancelledError:
            self.leave(flight)
            raise

    async def classify_many(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answers many requests of one caller, each by itself, in one wait and in order.

        An image that is bad, refused, late or failed has its error for an outcome and harms no other. Where there are
        deadlines, images end a little before theirs, so that the answer of all is in time. All are admitted in one step
        of the event loop: nobody else's image comes in between.

        Args:
            requests: usually alike but for the image; may be empty.

        Raises:
            RequestError: a request asks for a model that is not served or for too many classes (nothing was begun
                then), or every image was refused with Overloaded or Unavailable (the first one's).
            asyncio.CancelledError: the caller left; what has not been run will not be.
        """
        self._require_answerable(requests)
        awaited = Awaited(len(requests))
        in_time = with_time_to_travel(requests, self._clock())
        flights = [self.begin(each, partial(awaited.settled, place)) for place, each in enumerate(in_time)]
        try:
            outcomes = await awaited.all()
        except asyncio.CancelledError:
            for flight in flights:
                self.leave(flight)
            raise
        raise_if_all_may_come_back(outcomes)
        return outcomes

    def begin(self, request: Request, settled: Settled) -> Flight:
        """Begins to answer one request without anybody who waits; `settled` is told its outcome on the event loop.

        One that is refused is over, and `settled` was told, when this returns.
        """
        flight = Flight(next(self._numbers), request, self._clock(), settled, self._land)
        try:
            self._take_off(flight)
        except RequestError as error:
            self._land(flight, error)
        return flight

    def leave(self, flight: Flight) -> None:
        """The caller left: the image will not be run, if it has not been yet, and `settled` is not told."""
        if flight.is_over or flight.entry is None or flight.ticket is None:
            return
        self._observer.cancelled(flight.entry.name, self._queue.abandon(flight.ticket).value)
        self._end(flight, "cancelled")

    async def close(self) -> None:
        """Admits nothing more, finishes what was admitted, then ends all threads. May be called twice."""
        self.closing.set()
        self._queue.close()
        await self._devices.ended()

    def _require_answerable(self, requests: Sequence[Request]) -> None:
        """Refuses all of them before any is begun, if one asks for what cannot be."""
        came_at = self._clock()
        try:
            for request in requests:
                _top_k(request, self.catalog.resolve(request.model, request.version)[1])
        except RequestError as error:
            for request in requests:
                self._reject(request, error, came_at)
            raise

    def _take_off(self, flight: Flight) -> None:
        request = flight.request
        entry, model = self.catalog.resolve(request.model, request.version)
        top_k = _top_k(request, model)
        work = Work(flight.number, request.image, model.manifest.input, top_k, flight)
        ticket = self._admit(entry, _with_deadline(request, entry, flight.came_at), work)
        flight.entry, flight.model, flight.ticket = entry, model, ticket
        flight.call_off = self._end_at(ticket)
        self._in_flight += 1

    def _land(self, flight: Flight, result: Ranked | RequestError) -> None:
        """A flight has its outcome."""
        if isinstance(result, RequestError):
            self._end(flight, self._reject(flight.request, result, flight.came_at))
            flight.settled(result)
        elif flight.entry is not None and flight.model is not None:
            self._end(flight, "answered")
            flight.settled(answers.classification(flight.entry, flight.model, result))

    def _end(self, flight: Flight, outcome: str) -> None:
        flight.is_over = True
        if flight.call_off is not None:  # it was admitted
            flight.call_off()
            self._in_flight -= 1
        self._trace.write("ended", self._clock(), request=flight.number, outcome=outcome)

    def _reject(self, request: Request, error: RequestError, came_at: float) -> str:
        """Tells of an image without an answer; returns the reason in a word."""
        reason = rejection_reason(error)
        name, version = self._meant(request)
        self._observer.rejected(name, reason, version, self._clock() - came_at)
        return reason

    async def _load(self, folder: VersionFolder) -> None:
        lane = (folder.model, folder.version)
        started = self._clock()
        try:
            chosen = model_settings(folder.path.parent, self._settings)
            threads = self._settings.intra_op_threads
            devices = {device: CoreShare(device, threads) for device in loading.devices_of(chosen)}
            models = await asyncio.to_thread(loading.load_on_each, folder, devices, chosen.max_batch_size)
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

    def _meant(self, request: Request) -> Lane:
        """The version a request asked for: 0 if there is none such, no name if there is no such model."""
        try:
            return self.catalog.find(request.model, request.version).lane
        except RequestError:
            return (request.model if self.catalog.knows(request.model) else "", 0)

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
        self._observer.batch(BatchReport(name, version, outcome.size, reports, failed, outcome.inference_seconds))

    def _lose(self, device: str) -> None:
        """Tells of a device that was taken out; runs on its thread."""
        self._loop.call_soon_threadsafe(self.losses.put_nowait, device)

    def _strand(self, tickets: Iterable[WorkTicket]) -> None:
        """Ends the requests that no device is left for; runs on the lost device's thread."""
        for ticket in tickets:
            name, _ = lane_of(ticket)
            self._loop.call_soon_threadsafe(answers.settle, ticket.payload.answer, no_device(name))


def _settle(answer: "asyncio.Future[Classification]", outcome: Outcome) -> None:
    """Gives the waiting caller the outcome; one who has left by now is not told of it."""
    if answer.done():
        return
    if isinstance(outcome, RequestError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


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
