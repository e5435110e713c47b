"""Serves the front ends: receives their messages, and lets the core work once a step of the event loop."""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from linnaeus.server.engine.core import EngineCore
from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.link.connection import Connection
from linnaeus.server.link.front_end_session import FrontEndSession
from linnaeus.server.link.memory_handover import accept_with_memory, listen_for_front_ends
from linnaeus.server.link.messages import (
    Admit,
    Cancel,
    Charge,
    Charged,
    Count,
    Counted,
    Decoded,
    Devices,
    Event,
    Expire,
    Figures,
    GiveBack,
    Loaded,
    Measure,
    Message,
    ModelChanged,
    Operate,
    Rejected,
    Returned,
    ToCore,
    TurnEnded,
    Welcome,
)
from linnaeus.server.link.packed_errors import pack_error
from linnaeus.server.link.pixel_memory import PixelReader
from linnaeus.server.link.remote_decoders import RemoteDecoders
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.process.supervised_task import keep_running
from linnaeus.server.process.supervisor import ESCAPES, Supervisor
from linnaeus.server.requests.event_log import EventLog
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.observer import Observer
from linnaeus.server.requests.refusals import no_device
from linnaeus.server.requests.request import RequestTicket, lane_key_of

LINK_PART = "link"


class Serializable(Protocol):
    """A protobuf message."""

    def SerializeToString(self) -> bytes:
        """Returns the serialized message."""


class StatisticsSource(Protocol):
    """Has the statistics of versions; see `kserve.statistics`."""

    def of(self, model: str, version: int, name: str) -> Serializable:
        """Returns the statistics of a version under a name."""


class CoreServer:
    """The core's end of the link to all front ends. Belongs to the event loop's thread.

    Args:
        core: runs the requests of all front ends.
        observer: receives what front ends report for the metrics.
        statistics: has the statistics of versions.
        event_log: receives the events of front ends.
        clock: the core's clock, in seconds.
        supervisor: receives faults of the link.

    Attributes:
        decoders: the decoders of all front ends.
    """

    def __init__(
        self,
        core: EngineCore,
        observer: Observer,
        statistics: StatisticsSource,
        event_log: EventLog,
        clock: Callable[[], float],
        supervisor: Supervisor,
    ) -> None:
        self._core = core
        self._observer = observer
        self._statistics = statistics
        self._event_log = event_log
        self._clock = clock
        self._supervisor = supervisor
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._sessions: dict[Connection[ToCore], FrontEndSession] = {}
        self.decoders = RemoteDecoders(core, self._session_of, partial(self._schedule_step, 0.0), clock)
        self._is_loaded = False
        self._is_step_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers: dict[type[Any], Callable[[FrontEndSession, Any], None]] = {
            Admit: FrontEndSession.admit,
            Decoded: self._decoded,
            GiveBack: self._give_back,
            TurnEnded: lambda session, message: self.decoders.turn_ended(message.turn, session),
            Cancel: FrontEndSession.cancel,
            Rejected: self._rejected,
            Expire: FrontEndSession.expire,
            Operate: self._operate,
            Measure: self._measure,
            Count: self._count,
            Charge: self._charge,
            Event: lambda session, message: event_log.write(message.event, message.at, **message.fields),
        }
        core.catalog.on_change = self._model_changed
        core.queue.on_decodable = self._schedule_step_from_any_thread

    @property
    def in_flight(self) -> int:
        """Number of requests admitted and not yet ended."""
        return sum(len(session.tickets) for session in self._sessions.values())

    async def listen(self, path: str) -> None:
        """Listens on a socket file that only this user may use."""
        self._listener = listen_for_front_ends(path)
        accept = partial(accept_with_memory, self._listener, self._accept)
        self._accepting = asyncio.create_task(keep_running(LINK_PART, accept, self._supervisor))

    async def _accept(self, opened: socket.socket, memory: int) -> None:
        connection: Connection[ToCore] = Connection(ToCore, self.received, self.lost)
        session = FrontEndSession(self._core, connection, PixelReader(memory), self._clock)
        self._sessions[connection] = session
        await self._loop.create_unix_connection(lambda: connection, sock=opened)
        self._greet(connection)

    def loaded(self) -> None:
        """Tells the front ends that every model is ready or refused."""
        self._is_loaded = True
        self._send_to_all(Loaded())

    def publish_devices(self) -> None:
        """Tells the front ends which devices run batches."""
        self._send_to_all(Devices(self._core.device_states))

    def drain(self) -> None:
        """Lets the core begin no load, and no batch wait for more images, from now on."""
        self._core.drain()
        self._schedule_step(0.0)

    def close(self) -> None:
        """Closes every connection."""
        if self._accepting is not None and self._listener is not None:
            self._accepting.cancel()
            self._listener.close()
        for connection in list(self._sessions):
            connection.close()

    def _greet(self, connection: Connection[ToCore]) -> None:
        """Tells a front end all that it needs to know."""
        connection.send(Welcome(self._core.decoders))
        for name in self._core.catalog.names():
            connection.send(self._model(name))
        connection.send(Devices(self._core.device_states))
        if self._is_loaded:
            connection.send(Loaded())

    def received(self, connection: Connection[ToCore], messages: Sequence[ToCore]) -> None:
        """Handles the messages of a front end."""
        session, handlers = self._sessions[connection], self._handlers
        session.silent_ticks = 0
        for message in messages:
            try:
                handlers[type(message)](session, message)
            except ESCAPES as error:  # one message must not cost the others their answers
                self._fail(session, message, error)
        if not self._is_step_scheduled:
            self._is_step_scheduled = True
            self._loop.call_soon(self._step)

    def lost(self, connection: Connection[ToCore]) -> None:
        """Gives up what a front end held that is gone."""
        session = self._sessions.pop(connection)
        session.close()
        self.decoders.front_end_lost(session)

    def _fail(self, session: FrontEndSession, message: ToCore, fault: BaseException) -> None:
        """Reports a fault at a message, and answers that message with an error, so that its caller does not wait."""
        reference = self._supervisor.report(LINK_PART, fault)
        error = InternalFailure(f"the engine failed (log reference {reference})", reference)
        if isinstance(message, Admit | Decoded):
            session.fail(message.number, error)
        elif isinstance(message, Operate | Measure | Count | Charge):
            session.send(Returned(message.call, [], pack_error(error)))

    def _step(self) -> None:
        """Lets the core work with what the last messages brought."""
        self._is_step_scheduled = True  # what comes up meanwhile is done before this step ends
        try:
            self.decoders.pump()
            self._core.queue.notify()
            if self._core.devices.run_short():
                self.decoders.pump()  # the queue keeps a bounded number of decoded images, and the batch took some
                for connection in self._sessions:
                    connection.flush()
        finally:
            self._is_step_scheduled = False
        seconds = self._core.queue.seconds_until_work()
        if seconds is not None:
            self._schedule_step(seconds)

    def _schedule_step(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds > 0:
            self._timer = self._loop.call_later(seconds, self._step)
        elif not self._is_step_scheduled:
            self._is_step_scheduled = True
            self._loop.call_soon(self._step)

    def _schedule_step_from_any_thread(self) -> None:
        if threading.get_ident() == self._thread:
            self._schedule_step(0.0)
        else:
            self._loop.call_soon_threadsafe(self._schedule_step, 0.0)

    def _session_of(self, ticket: RequestTicket) -> FrontEndSession | None:
        for session in self._sessions.values():
            if session.tickets.get(ticket.payload.number) is ticket:
                return session
        return None

    def _decoded(self, session: FrontEndSession, message: Decoded) -> None:
        self._fail_stranded(session.decoded(message))

    def _give_back(self, session: FrontEndSession, message: GiveBack) -> None:
        self._fail_stranded(session.give_back(message))

    def _fail_stranded(self, tickets: Sequence[RequestTicket]) -> None:
        for ticket in tickets:
            self._core.fail(ticket, no_device(lane_key_of(ticket).model))

    def _rejected(self, session: FrontEndSession, message: Rejected) -> None:
        self._observer.rejected(message.model, message.reason, message.version, message.seconds)

    def _measure(self, session: FrontEndSession, message: Measure) -> None:
        lane = LaneKey(*message.lane)
        error, batches = self._core.prediction_error(lane), self._core.batch_seconds(lane)
        session.send(Figures(message.call, batches, error.median_error_seconds, error.margin_seconds))

    def _count(self, session: FrontEndSession, message: Count) -> None:
        statistics = self._statistics.of(message.model, message.version, message.name)
        session.send(Counted(message.call, statistics.SerializeToString()))

    def _charge(self, session: FrontEndSession, message: Charge) -> None:
        session.send(Charged(message.call, self._core.take(message.caller, message.cost)))

    def _operate(self, session: FrontEndSession, message: Operate) -> None:
        task = asyncio.create_task(self._run_operation(session, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_operation(self, session: FrontEndSession, message: Operate) -> None:
        operation = getattr(self._core.model_manager, message.operation)
        try:
            result: Entry | list[Entry] = await operation(*message.arguments)
        except RequestError as error:
            session.send(Returned(message.call, [], pack_error(error)))
        except ESCAPES as error:  # such as RuntimeError, if the process may have no more threads
            self._fail(session, message, error)
        else:
            session.send(Returned(message.call, result if isinstance(result, list) else [result], None))

    def _model_changed(self, name: str) -> None:
        self._send_to_all(self._model(name))

    def _model(self, name: str) -> ModelChanged:
        catalog = self._core.catalog
        entries = list(catalog.versions(name).values())
        return ModelChanged(name, entries, catalog.labels(name), catalog.configured_default(name))

    def _send_to_all(self, message: Message) -> None:
        for connection in self._sessions:
            connection.send(message)
