"""The core of the engine, as a front end sees it."""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from linnaeus.server.engine import responses
from linnaeus.server.engine.core_client import ModelFigures
from linnaeus.server.engine.request_reports import log_refused
from linnaeus.server.errors import DeadlineExceeded, RequestError, Unavailable
from linnaeus.server.link.connection import Connection
from linnaeus.server.link.memory_handover import connect_with_memory
from linnaeus.server.link.messages import (
    Answer,
    BatchTimes,
    Charge,
    Charged,
    Count,
    Counted,
    Decode,
    Devices,
    Expire,
    Figures,
    Loaded,
    Measure,
    Message,
    ModelChanged,
    Refused,
    Rejected,
    Returned,
    ToFrontEnd,
    Welcome,
)
from linnaeus.server.link.packed_errors import unpack_error
from linnaeus.server.link.recent_refusals import RecentRefusals
from linnaeus.server.link.remote_event_log import RemoteEventLog
from linnaeus.server.link.remote_operations import RemoteOperations
from linnaeus.server.link.remote_queue import RemoteQueue
from linnaeus.server.model_store.catalog import Catalog
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.event_log import EventLog
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.observer import rejection_reason
from linnaeus.server.requests.refusals import too_late
from linnaeus.server.requests.request import BatchReport, RequestPayload, RequestTicket, TimedRanking, lane_key_of
from linnaeus.server.requests.request_record import BatchRecord, RecordHandler
from linnaeus.server.runtime.ranking import Ranking
from linnaeus.server.scheduling import DecodeWork, PredictionError, Priority, Stage

LINK_PART = "link"
_LOST_RETRY_SECONDS = 1.0
# How long the core, which may be busy with a batch, is given to end a request whose deadline has passed.
_EXPIRY_SECONDS = 0.1
_STARTING = "the engine is starting"
_LOST = "the engine has ended unexpectedly and starts anew"


class RemoteCore:
    """Implements `CoreClient` and `Observer` across a socket. Belongs to the event loop's thread, but for `fail`.

    Args:
        catalog: is kept equal to the core's.
        clock: the core's clock, in seconds.
        supervisor: receives faults of the link.
        is_event_log_on: whether the core writes an event log.
        record_handler: receives the records of batches, each as far as it is of this front end; None for no records.

    Attributes:
        catalog: the model versions and their states.
        queue: the requests in the core.
        model_manager: loads and unloads versions.
        health_changed: set whenever a device is removed or the served versions change.
        device_states: whether each device runs batches, by name.
        decoders: number of decoder threads to start; known after `prepare`.
        unready_reason: why requests are refused, in a sentence; empty if they are not.
        event_log: writes to the core's event log.
    """

    def __init__(
        self,
        catalog: Catalog,
        clock: Callable[[], float],
        supervisor: Supervisor,
        is_event_log_on: bool = False,
        record_handler: RecordHandler | None = None,
    ) -> None:
        self.catalog = catalog
        self.queue = RemoteQueue(clock, self._send, self._send_from_thread)
        self.model_manager = RemoteOperations(self._call)
        self.health_changed = asyncio.Event()
        self.device_states: Mapping[str, bool] = {}
        self.decoders = 0
        self._clock = clock
        self.unready_reason = _STARTING
        self._is_connected = False
        self.event_log: EventLog = RemoteEventLog(is_event_log_on, self._send_from_thread)
        self._supervisor = supervisor
        self._record_handler = record_handler
        self._batches: dict[int, BatchRecord] = {}
        self._refusals = RecentRefusals()
        self._loop = asyncio.get_running_loop()
        self._connection: Connection[ToFrontEnd] | None = None
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._welcomed = asyncio.Event()
        self._loaded = asyncio.Event()
        self._announced: set[str] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            Answer: self._answer,
            Decode: lambda message: self.queue.decode(message.turn, message.numbers),
            Refused: self._refused,
            Welcome: self._welcome,
            Returned: self._returned,
            Figures: lambda message: self._reply(message.call, message),
            Counted: lambda message: self._reply(message.call, message.statistics),
            Charged: lambda message: self._reply(message.call, message.wait_seconds),
            ModelChanged: self._model_changed,
            Devices: self._devices,
            Loaded: self._all_loaded,
        }

    def connect_soon(self, path: str) -> None:
        """Connects to the core, which listens on a socket file; leaves the one before, if any."""
        self._connecting = asyncio.create_task(self._connect(path))

    async def _connect(self, path: str) -> None:
        def made() -> Connection[ToFrontEnd]:
            return Connection(ToFrontEnd, self._received, self._lost)

        self._announced.clear()
        try:
            opened = connect_with_memory(path, self.queue.memory.fd)
            _, self._connection = await self._loop.create_unix_connection(made, sock=opened)
        except OSError as error:  # it has died meanwhile; the supervisor tells of its successor
            self._supervisor.report(LINK_PART, error)

    async def prepare(self) -> None:
        """Waits until the number of decoders is known."""
        await self._welcomed.wait()

    async def load(self) -> None:
        """Waits until every model that is wanted is ready or refused."""
        await self._loaded.wait()

    def drain(self) -> None:
        """Does nothing: the supervisor has the core drain, when the whole server stops."""

    async def close(self) -> None:
        """Ends the decoders and the connection."""
        self.queue.close()
        if self._connection is not None:
            self._connection.close()

    async def figures(self, lane: LaneKey) -> ModelFigures:
        """Returns what has been measured of a ready version."""
        figures: Figures = await self._call(lambda call: Measure(call, lane))
        error = PredictionError(figures.median_error_seconds, figures.margin_seconds)
        return ModelFigures(figures.batch_seconds, error)

    async def count(self, model: str, version: int, name: str) -> bytes:
        """Returns the statistics of a version under a name, serialized; see `kserve.statistics`."""
        statistics: bytes = await self._call(lambda call: Count(call, model, version, name))
        return statistics

    async def charge(self, caller: str, cost: float) -> float:
        """Charges a caller in the core; see `RateLimiter.take`."""
        wait_seconds: float = await self._call(lambda call: Charge(call, caller, cost))
        return wait_seconds

    def admit(
        self,
        lane: LaneKey,
        payload: RequestPayload,
        deadline: float | None,
        priority: Priority,
        work: DecodeWork | None,
        caller: str,
    ) -> RequestTicket:
        """Sends a request to the core, unless it is hopeless; see `RecentRefusals` and `RemoteQueue.admit`."""
        self._require_ready()
        now = self._clock()
        try:
            self._refusals.check(lane, deadline, priority, work, caller, now)
        except RequestError as error:
            log_refused(self.event_log, now, lane, payload.number, priority, deadline, error)
            raise
        return self.queue.admit(lane, payload, deadline, priority, work, caller)

    def request_admitted(self) -> None:
        """Does nothing: the core has requests run as their messages come."""

    def cancel(self, ticket: RequestTicket) -> None:
        """Cancels a request whose caller has left."""
        self.queue.cancel(ticket)

    def expire(self, ticket: RequestTicket) -> None:
        """Has the core end a request at its deadline: it knows at what stage it was. If it is silent, ends it here."""
        self._send(Expire(ticket.payload.number))
        self._loop.call_later(_EXPIRY_SECONDS, self._expire_here, ticket)

    def _expire_here(self, ticket: RequestTicket) -> None:
        if ticket.stage is not Stage.ENDED:
            stage = self.queue.cancel(ticket, by_caller=False)
            error = too_late(ticket, self._clock(), f"was at the stage {stage.value}")
            responses.complete(ticket.payload.future, error)

    def fail(self, ticket: RequestTicket, error: RequestError) -> None:
        """Ends a request whose image will not reach a device. Any thread may call it."""
        try:
            self.queue.cancel(ticket, by_caller=False)
            reason = rejection_reason(error)
            self.event_log.write("dropped", self._clock(), request=ticket.payload.number, reason=reason)
        finally:
            self._loop.call_soon_threadsafe(responses.complete, ticket.payload.future, error)

    def batch(self, report: BatchReport) -> None:
        """Does nothing: the core counts its batches itself."""

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        """Has the core count a request that ended with an error."""
        self._send(Rejected(model, reason, version, seconds))

    def cancelled(self, model: str, stage: str) -> None:
        """Does nothing: the core counts what it cancels."""

    def load_failed(self, model: str) -> None:
        """Does nothing: the core loads the models."""

    def _send(self, message: Message) -> None:
        if self._connection is not None:
            self._connection.send(message)

    def _send_from_thread(self, messages: Sequence[Message]) -> None:
        if self._connection is not None:
            self._connection.send_from_thread(messages)

    async def _call(self, message: Callable[[int], Message]) -> Any:
        """Sends a message with a number and waits for the reply to it.

        Raises:
            RequestError: if the core replies with one, or is lost.
        """
        self._require_ready()
        call = next(self._numbers)
        self._calls[call] = reply = self._loop.create_future()
        try:
            self._send(message(call))
            return await reply
        finally:
            del self._calls[call]

    def _received(self, _: Connection[ToFrontEnd], messages: Sequence[ToFrontEnd]) -> None:
        for message in messages:
            self._handlers[type(message)](message)
        if self._batches and self._record_handler is not None:
            for record in self._batches.values():
                self._record_handler.batch_ended(record)
            self._batches.clear()

    def _require_ready(self) -> None:
        """Raises Unavailable if the core is not there; it may still be loading models."""
        if not self._is_connected:
            raise Unavailable(f"{self.unready_reason}; try again", _LOST_RETRY_SECONDS)

    def _lost(self, lost: Connection[ToFrontEnd]) -> None:
        """Ends everything that waits for the core."""
        if lost is not self._connection:
            return
        self._connection = None
        self._is_connected = False
        self.unready_reason = _LOST
        error = Unavailable(f"{_LOST}; try again", _LOST_RETRY_SECONDS)
        for number in list(self.queue.tickets):
            self._end(number, error)
        for reply in self._calls.values():
            if not reply.done():
                reply.set_exception(error)
        self.health_changed.set()

    def _answer(self, answer: Answer) -> None:
        ticket = self.queue.end(answer.number)
        if ticket is None or ticket.stage is Stage.ENDED:
            return
        ticket.stage = Stage.ENDED
        if answer.batch is not None:
            ticket.payload.batch = self._record_of(lane_key_of(ticket), answer.batch)
        ranking = Ranking(answer.indices, answer.probabilities, answer.features)
        decode_seconds = ticket.payload.decode_seconds
        timed = TimedRanking(ranking, answer.batch_size, decode_seconds, answer.queue_seconds, answer.inference_seconds)
        responses.complete(ticket.payload.future, timed)

    def _record_of(self, lane: LaneKey, times: BatchTimes) -> BatchRecord:
        """Returns the record that the requests of a batch share."""
        record = BatchRecord(times.number, lane.model, lane.version, times.device, times.size, times.taken_at)
        record.finished_at, record.succeeded = times.finished_at, True
        return self._batches.setdefault(times.number, record)

    def _refused(self, refused: Refused) -> None:
        error = unpack_error(refused.error)
        ticket = self.queue.tickets.get(refused.number)
        if ticket is not None and refused.at_admission and isinstance(error, DeadlineExceeded):
            self._note_refusal(ticket, error)
        self._end(refused.number, error)

    def _note_refusal(self, ticket: RequestTicket, error: DeadlineExceeded) -> None:
        if ticket.deadline is not None:
            lane = lane_key_of(ticket)
            now = self._clock()
            self._refusals.note(lane, ticket.deadline, ticket.priority, ticket.work, ticket.caller, error, now)

    def _end(self, number: int, error: RequestError) -> None:
        ticket = self.queue.end(number)
        if ticket is not None:
            ticket.stage = Stage.ENDED
            responses.complete(ticket.payload.future, error)

    def _welcome(self, welcome: Welcome) -> None:
        self.decoders = welcome.decoders
        self._is_connected = True
        self._welcomed.set()

    def _returned(self, returned: Returned) -> None:
        reply = self._calls.get(returned.call)
        if reply is None or reply.done():
            return
        if returned.error is None:
            reply.set_result(returned.entries)
        else:
            reply.set_exception(unpack_error(returned.error))

    def _reply(self, call: int, result: Any) -> None:
        reply = self._calls.get(call)
        if reply is not None and not reply.done():
            reply.set_result(result)

    def _all_loaded(self, _: Loaded) -> None:
        """The catalog is complete: what a core before this one had, and this one has not, is gone."""
        for name in self.catalog.names():
            if name not in self._announced:
                self.catalog.replace(name, [], {}, "")
        self.unready_reason = ""
        self._loaded.set()
        self.health_changed.set()

    def _model_changed(self, changed: ModelChanged) -> None:
        self._announced.add(changed.name)
        self.catalog.replace(changed.name, changed.entries, changed.labels, changed.default)
        self.health_changed.set()

    def _devices(self, devices: Devices) -> None:
        self.device_states = devices.states
        self.health_changed.set()
