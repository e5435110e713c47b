"""All images under way: begun when they are asked for, ended when there is an outcome or their caller leaves.

There is no task and no future for an image, so that those of a batch or a stream cost no more than what is done for
them. Everything here belongs to the event loop's thread. Must not know who asks, nor how outcomes are spoken.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence

from linnaeus.server.decoding.decode import as_they_are
from linnaeus.server.engine import responses
from linnaeus.server.engine.admit import admit
from linnaeus.server.engine.dispatch import Summons
from linnaeus.server.engine.request_state import Flight, Outcome, Settled
from linnaeus.server.errors import InvalidArgument, RequestError
from linnaeus.server.model_store.catalog import Catalog, Entry
from linnaeus.server.requests.event_log import Trace
from linnaeus.server.requests.observer import Observer, rejection_reason
from linnaeus.server.requests.refusals import too_late
from linnaeus.server.requests.request import Ranked, Request, Work, WorkTicket
from linnaeus.server.requests.request_record import Follower, Journey
from linnaeus.server.runtime.model import Model
from linnaeus.server.scheduling import BatchQueue, Stage

DEFAULT_TOP_K = 5


class Flights:
    """Begins and ends flights.

    Args:
        catalog: what is served.
        queue: where images wait.
        summons: are sent for those who decode and run them.
        observer: is told of what got no answer.
        trace: gets a line for each beginning and end.
        clock: the queue's clock.
        follower: of requests; None for nobody, which costs nothing.

    Attributes:
        in_flight: images admitted and not yet answered.
    """

    def __init__(
        self,
        catalog: Catalog,
        queue: BatchQueue[Work],
        summons: Summons,
        observer: Observer,
        trace: Trace,
        clock: Callable[[], float],
        follower: Follower | None = None,
    ) -> None:
        self.in_flight = 0
        self._catalog = catalog
        self._queue = queue
        self._summons = summons
        self._observer = observer
        self._trace = trace
        self._clock = clock
        self._follower = follower
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)

    def begin(self, request: Request, settled: Settled) -> Flight:
        """Begins to answer one request; `settled` is told its outcome, for one that is refused before this returns."""
        flight = Flight(next(self._numbers), request, self._clock(), settled, self._land)
        if self._follower is not None:
            flight.mark = self._follower.meet(flight.number)
        try:
            self._take_off(flight)
        except RequestError as error:
            self._land(flight, _without_frames(error))
        return flight

    def leave(self, flight: Flight) -> None:
        """The caller left: the image will not be run, if it has not been yet, and `settled` is not told."""
        if flight.is_over or flight.entry is None or flight.ticket is None:
            return
        self._observer.cancelled(flight.entry.name, self._queue.abandon(flight.ticket).value)
        self._end(flight, "cancelled")

    def require_answerable(self, requests: Sequence[Request]) -> None:
        """Refuses all of them before any is begun, if one asks for what cannot be.

        Raises:
            RequestError: no such model is served, or it has fewer classes than are asked for.
        """
        came_at = self._clock()
        try:
            for request in requests:
                _top_k(request, self._catalog.resolve(request.model, request.version)[1])
        except RequestError as error:
            for request in requests:
                reason = self._reject(request, error, came_at)
                self._tell_of_none_begun(request, reason, came_at)
            raise

    def _take_off(self, flight: Flight) -> None:
        request = flight.request
        entry, model = self._catalog.resolve(request.model, request.version)
        spec = model.manifest.input
        work = Work(
            flight.number, request.image, spec, _top_k(request, model), flight, as_they_are(request.image, spec)
        )
        ticket = self._admit(entry, _with_deadline(request, entry, flight.came_at), work)
        flight.entry, flight.model, flight.ticket = entry, model, ticket
        flight.call_off = self._end_at(ticket)
        self.in_flight += 1
        self._summons.admitted(self.in_flight, _device_here(model, work))

    def _admit(self, entry: Entry, request: Request, work: Work) -> WorkTicket:
        try:
            ticket = admit(self._queue, entry, request, work)
        except RequestError as error:
            if self._trace.is_on:
                told = _told(entry, request, work)
                self._trace.write("refused", self._clock(), **told, reason=rejection_reason(error))
            raise
        if self._trace.is_on:
            told = _told(entry, request, work)
            self._trace.write("admitted", ticket.admitted_at, **told, predicted=ticket.predicted_at)
        return ticket

    def _end_at(self, ticket: WorkTicket) -> Callable[[], None]:
        """Ends an image at its deadline, wherever it is by then; returns what calls that off."""
        if ticket.deadline is None:
            return _nothing
        return self._loop.call_later(max(ticket.deadline - self._clock(), 0.0), self._expire, ticket).cancel

    def _expire(self, ticket: WorkTicket) -> None:
        stood = self._queue.abandon(ticket, left=False)
        if stood is not Stage.GONE:  # otherwise what became of it is on its way
            responses.settle(ticket.payload.answer, too_late(ticket, self._clock(), f"was at the stage {stood.value}"))

    def _land(self, flight: Flight, result: Ranked | RequestError) -> None:
        """A flight has its outcome."""
        if isinstance(result, RequestError):
            self._end(flight, self._reject(flight.request, result, flight.came_at))
            flight.settled(result)
        elif flight.entry is not None and flight.model is not None:
            classification = responses.classification(flight.entry, flight.model, result)
            self._end(flight, "answered")
            flight.settled(classification)

    def _end(self, flight: Flight, outcome: str) -> None:
        flight.is_over = True
        if flight.mark is not None and self._follower is not None:
            self._follower.ended(flight.mark, self._journey(flight, outcome))
        if flight.call_off is not None:  # it was admitted
            flight.call_off()
            self.in_flight -= 1
        # The ticket knows the flight, too: nothing would return the picture, nor a model that was unloaded, at once.
        flight.entry = flight.model = flight.ticket = flight.call_off = None
        self._trace.write("ended", self._clock(), request=flight.number, outcome=outcome)

    def _tell_of_none_begun(self, request: Request, outcome: str, came_at: float) -> None:
        """Tells of a request that was refused with all others of its call."""
        if self._follower is None:
            return
        number = next(self._numbers)
        mark = self._follower.meet(number)
        if mark is not None:
            refused = Flight(number, request, came_at, _unheard, self._land)
            self._follower.ended(mark, self._journey(refused, outcome))

    def _journey(self, flight: Flight, outcome: str) -> Journey:
        request, ticket, entry = flight.request, flight.ticket, flight.entry
        model, version = self._meant(request) if entry is None else (entry.name, entry.version)
        deadline = request.deadline if ticket is None else ticket.deadline
        return Journey(
            number=flight.number,
            model=model,
            version=version,
            outcome=outcome,
            priority=request.priority,
            image_bytes=len(request.image.data),
            timeout_seconds=None if deadline is None else deadline - flight.came_at,
            came_at=flight.came_at,
            ended_at=self._clock(),
            decode_seconds=0.0 if ticket is None else ticket.payload.decode_seconds,
            decoded_at=0.0 if ticket is None else ticket.put_at,
            run=None if ticket is None else ticket.payload.run,
        )

    def _reject(self, request: Request, error: RequestError, came_at: float) -> str:
        """Tells of an image without an answer; returns the reason in a word."""
        reason = rejection_reason(error)
        name, version = self._meant(request)
        self._observer.rejected(name, reason, version, self._clock() - came_at)
        return reason

    def _meant(self, request: Request) -> tuple[str, int]:
        """The version a request asked for: 0 if there is none such, no name if there is no such model."""
        try:
            entry = self._catalog.find(request.model, request.version)
        except RequestError:
            return (request.model if self._catalog.knows(request.model) else "", 0)
        return entry.name, entry.version


def _told(entry: Entry, request: Request, work: Work) -> dict[str, object]:
    """What the trace says of an image at the door."""
    return {
        "request": work.number,
        "model": entry.name,
        "version": entry.version,
        "priority": request.priority.name.lower(),
        "deadline": request.deadline,
    }


def _device_here(model: Model, work: Work) -> str | None:
    """The device that the event loop itself could run an image on; None if that takes too long, or a decoder first."""
    return str(model.device) if model.is_brief and work.pixels is not None else None


def _without_frames(error: RequestError) -> RequestError:
    """Forgets where it was raised: the frames there know the flight, whose caller is about to hold the error."""
    error.__context__ = None
    return error.with_traceback(None)


def _nothing() -> None:
    """There is no deadline to call off."""


def _unheard(outcome: Outcome) -> None:
    """The call is told, not the image."""


def _with_deadline(request: Request, entry: Entry, now: float) -> Request:
    """A caller who names no deadline gets the model's, if it has one."""
    if request.deadline is not None or not entry.default_timeout_seconds:
        return request
    return request._replace(deadline=now + entry.default_timeout_seconds)


def _top_k(request: Request, model: Model) -> int:
    """How many classes the caller wants; 0 means the default."""
    name, classes = model.manifest.name, model.manifest.classes
    if not 0 <= request.top_k <= classes:
        message = f"top_k is {request.top_k}, but model {name} has {classes} classes; 0 means the default"
        raise InvalidArgument("top_k", message)
    return request.top_k or min(DEFAULT_TOP_K, classes)
