"""All requests in flight: begun on arrival, ended by an outcome or by cancellation.

There is no task and no future for an image, so that those of a batch or a worker cost no more than what is done for
them. Everything here belongs to the event loop's thread. Must not know who asks, nor how outcomes are spoken.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence

from linnaeus.server.decoding.decode import model_input_view
from linnaeus.server.engine import responses
from linnaeus.server.engine.admit import admit
from linnaeus.server.engine.dispatch import Dispatcher
from linnaeus.server.engine.request_defaults import effective_top_k, with_default_deadline
from linnaeus.server.engine.request_reports import event_fields, named_version, record_of
from linnaeus.server.engine.request_state import Outcome, OutcomeCallback, RequestState
from linnaeus.server.errors import RequestError
from linnaeus.server.model_store.catalog import Catalog, Entry
from linnaeus.server.requests.event_log import EventLog
from linnaeus.server.requests.observer import Observer, rejection_reason
from linnaeus.server.requests.refusals import too_late
from linnaeus.server.requests.request import Request, RequestPayload, RequestTicket, TimedRanking
from linnaeus.server.requests.request_record import RecordHandler
from linnaeus.server.runtime.model import Model
from linnaeus.server.scheduling import BatchQueue, Stage


class InFlightRequests:
    """Begins and ends requests.

    Args:
        catalog: what is served.
        queue: where images wait.
        dispatcher: are sent for those who decode and run them.
        observer: is told of what got no answer.
        event_log: gets a line for each beginning and end.
        clock: the queue's clock.
        record_handler: of requests; None for nobody, which costs nothing.

    Attributes:
        in_flight: images admitted and not yet answered.
    """

    def __init__(
        self,
        catalog: Catalog,
        queue: BatchQueue[RequestPayload],
        dispatcher: Dispatcher,
        observer: Observer,
        event_log: EventLog,
        clock: Callable[[], float],
        record_handler: RecordHandler | None = None,
    ) -> None:
        self.in_flight = 0
        self._catalog = catalog
        self._queue = queue
        self._dispatcher = dispatcher
        self._observer = observer
        self._event_log = event_log
        self._clock = clock
        self._record_handler = record_handler
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)

    def begin(self, request: Request, on_outcome: OutcomeCallback) -> RequestState:
        """Begins to answer one request; `on_outcome` gets its outcome, before this returns if it is refused."""
        state = RequestState(next(self._numbers), request, self._clock(), on_outcome, self._complete)
        if self._record_handler is not None:
            state.record_context = self._record_handler.sample(state.number)
        try:
            self._start(state)
        except RequestError as error:
            self._complete(state, _without_frames(error))
        return state

    def cancel(self, state: RequestState) -> None:
        """The caller left: the image will not be run, if it has not been yet, and `on_outcome` is not told."""
        if state.is_done or state.entry is None or state.ticket is None:
            return
        self._observer.cancelled(state.entry.name, self._queue.cancel(state.ticket).value)
        self._end(state, "cancelled")

    def require_answerable(self, requests: Sequence[Request]) -> None:
        """Refuses all of them before any is begun, if one asks for what cannot be.

        Raises:
            RequestError: no such model is served, or it has fewer classes than are asked for.
        """
        arrived_at = self._clock()
        try:
            for request in requests:
                effective_top_k(request, self._catalog.resolve(request.model, request.version)[1])
        except RequestError as error:
            for request in requests:
                reason = self._reject(request, error, arrived_at)
                self._record_unstarted(request, reason, arrived_at)
            raise

    def _start(self, state: RequestState) -> None:
        request = state.request
        entry, model = self._catalog.resolve(request.model, request.version)
        spec = model.manifest.input
        payload = RequestPayload(
            state.number,
            request.image,
            spec,
            effective_top_k(request, model),
            state,
            model_input_view(request.image, spec),
        )
        ticket = self._admit(entry, with_default_deadline(request, entry, state.arrived_at), payload)
        state.entry, state.model, state.ticket = entry, model, ticket
        state.cancel_timer = self._schedule_expiry(ticket)
        self.in_flight += 1
        self._dispatcher.request_admitted(self.in_flight, _inline_device(model, payload))

    def _admit(self, entry: Entry, request: Request, payload: RequestPayload) -> RequestTicket:
        try:
            ticket = admit(self._queue, entry, request, payload)
        except RequestError as error:
            if self._event_log.is_on:
                told = event_fields(entry, request, payload)
                self._event_log.write("refused", self._clock(), **told, reason=rejection_reason(error))
            raise
        if self._event_log.is_on:
            told = event_fields(entry, request, payload)
            self._event_log.write("admitted", ticket.admitted_at, **told, predicted=ticket.predicted_at)
        return ticket

    def _schedule_expiry(self, ticket: RequestTicket) -> Callable[[], None]:
        """Ends an image at its deadline, wherever it is by then; returns what calls that off."""
        if ticket.deadline is None:
            return _no_op
        return self._loop.call_later(max(ticket.deadline - self._clock(), 0.0), self._expire, ticket).cancel

    def _expire(self, ticket: RequestTicket) -> None:
        stood = self._queue.cancel(ticket, by_caller=False)
        if stood is not Stage.ENDED:  # otherwise what became of it is on its way
            responses.complete(
                ticket.payload.future, too_late(ticket, self._clock(), f"was at the stage {stood.value}")
            )

    def _complete(self, state: RequestState, result: TimedRanking | RequestError) -> None:
        """A request has its outcome."""
        if isinstance(result, RequestError):
            self._end(state, self._reject(state.request, result, state.arrived_at))
            state.on_outcome(result)
        elif state.entry is not None and state.model is not None:
            classification = responses.classification(state.entry, state.model, result)
            self._end(state, "answered")
            state.on_outcome(classification)

    def _end(self, state: RequestState, outcome: str) -> None:
        state.is_done = True
        if state.record_context is not None and self._record_handler is not None:
            self._record_handler.request_ended(
                state.record_context, record_of(state, self._catalog, outcome, self._clock())
            )
        if state.cancel_timer is not None:  # it was admitted
            state.cancel_timer()
            self.in_flight -= 1
        # The ticket knows the request, too: nothing would return the picture, nor a model that was unloaded, at once.
        state.entry = state.model = state.ticket = state.cancel_timer = None
        self._event_log.write("ended", self._clock(), request=state.number, outcome=outcome)

    def _record_unstarted(self, request: Request, outcome: str, arrived_at: float) -> None:
        """Tells of a request that was refused with all others of its call."""
        if self._record_handler is None:
            return
        number = next(self._numbers)
        context = self._record_handler.sample(number)
        if context is not None:
            refused = RequestState(number, request, arrived_at, _ignore_outcome, self._complete)
            self._record_handler.request_ended(context, record_of(refused, self._catalog, outcome, self._clock()))

    def _reject(self, request: Request, error: RequestError, arrived_at: float) -> str:
        """Tells of an image without an answer; returns the reason in a word."""
        reason = rejection_reason(error)
        name, version = named_version(self._catalog, request)
        self._observer.rejected(name, reason, version, self._clock() - arrived_at)
        return reason


def _inline_device(model: Model, payload: RequestPayload) -> str | None:
    """The device that the event loop itself could run an image on; None if that takes too long, or a decoder first."""
    return str(model.device) if model.runs_inline and payload.pixels is not None else None


def _without_frames(error: RequestError) -> RequestError:
    """Forgets where it was raised: the frames there know the request, whose caller is about to hold the error."""
    error.__context__ = None
    return error.with_traceback(None)


def _no_op() -> None:
    """There is no deadline to call off."""


def _ignore_outcome(outcome: Outcome) -> None:
    """The call is told, not the image."""
