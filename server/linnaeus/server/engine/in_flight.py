"""The requests in flight: starts each on arrival and ends it by an outcome or by cancellation.

A request has no asyncio task or future of its own, which keeps the cost per image low for calls with many images.
Belongs to the event loop's thread. This module must not know callers or gRPC.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

from linnaeus.server.decoding.decode import model_input_view
from linnaeus.server.decoding.decode_work import picture_work
from linnaeus.server.engine import responses
from linnaeus.server.engine.core_client import CoreClient
from linnaeus.server.engine.request_defaults import effective_top_k, with_default_deadline
from linnaeus.server.engine.request_reports import REPORT_PART, named_version, record_of
from linnaeus.server.engine.request_state import Outcome, OutcomeCallback, RequestState
from linnaeus.server.errors import RequestError, VersionReplaced
from linnaeus.server.model_store.catalog import Catalog
from linnaeus.server.process.supervisor import ESCAPES, Supervisor
from linnaeus.server.requests.event_log import EventLog
from linnaeus.server.requests.observer import Observer, rejection_reason
from linnaeus.server.requests.request import Request, RequestPayload, RequestTicket, TimedRanking
from linnaeus.server.requests.request_record import RecordHandler


class InFlightRequests:
    """The set of requests in flight. Belongs to the event loop's thread.

    Args:
        catalog: the model versions and their states.
        core: has the queue of admitted requests.
        observer: receives rejections and cancellations.
        event_log: receives the admission and the end of each request.
        clock: the queue's clock, in seconds.
        max_image_pixels: largest allowed width x height of an image.
        supervisor: receives faults of the observer, the event log and the record handler: none of them may cost a
            caller its answer.
        record_handler: receives records of sampled requests; None for no records.
        numbers: the numbers of requests, unique among the engines of a core; None for 1, 2, 3 and so on.

    Attributes:
        in_flight: number of requests admitted and not yet ended.
    """

    def __init__(
        self,
        catalog: Catalog,
        core: CoreClient,
        observer: Observer,
        event_log: EventLog,
        clock: Callable[[], float],
        max_image_pixels: int,
        supervisor: Supervisor,
        record_handler: RecordHandler | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.in_flight = 0
        self._max_image_pixels = max_image_pixels
        self._catalog = catalog
        self._core = core
        self._observer = observer
        self._event_log = event_log
        self._clock = clock
        self._supervisor = supervisor
        self._record_handler = record_handler
        self._loop = asyncio.get_running_loop()
        self._numbers = numbers or itertools.count(1)

    def begin(self, request: Request, on_outcome: OutcomeCallback) -> RequestState:
        """Starts one request; calls `on_outcome` with its outcome, before this method returns if it is refused."""
        state = RequestState(next(self._numbers), request, self._clock(), on_outcome, self._complete)
        if self._record_handler is not None:
            state.record_context = self._record_handler.sample(state.number)
        try:
            self._start(state)
        except RequestError as error:
            self._complete(state, _without_frames(error))
        return state

    def cancel(self, state: RequestState) -> None:
        """Cancels a request: its image is not run, unless it already was, and `on_outcome` is not called."""
        if state.is_done or state.entry is None or state.ticket is None:
            return
        self._core.cancel(state.ticket)
        self._end(state, "cancelled")

    def require_answerable(self, requests: Sequence[Request]) -> None:
        """Checks every request of a call before any is started; counts all as rejected if one is invalid.

        Raises:
            RequestError: if a request names a model that is not served, or asks for what the model does not have.
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
            request.min_probability,
            request.want_features,
        )
        work = picture_work(request.image, spec, self._max_image_pixels) if payload.pixels is None else None
        deadline = with_default_deadline(request, entry, state.arrived_at).deadline
        ticket = self._core.admit(entry.lane, payload, deadline, request.priority, work, request.caller)
        state.entry, state.model, state.ticket = entry, model, ticket
        state.cancel_timer = self._schedule_expiry(ticket)
        self.in_flight += 1
        self._core.request_admitted()

    def _schedule_expiry(self, ticket: RequestTicket) -> Callable[[], None]:
        """Schedules the end of a request at its deadline, at whatever stage it is then; returns the cancel function."""
        if ticket.deadline is None:
            return _no_op
        return self._loop.call_later(max(ticket.deadline - self._clock(), 0.0), self._core.expire, ticket).cancel

    def _complete(self, state: RequestState, result: TimedRanking | RequestError) -> None:
        """Ends a request and passes its outcome to the caller."""
        if isinstance(result, VersionReplaced) and self._start_anew(state, result):
            return
        if isinstance(result, RequestError):
            self._end(state, self._reject(state.request, result, state.arrived_at))
            state.on_outcome(result)
        elif state.entry is not None and state.model is not None:
            classification = responses.classification(state.entry, state.model, result)
            self._end(state, "answered")
            state.on_outcome(classification)

    def _start_anew(self, state: RequestState, error: VersionReplaced) -> bool:
        """Starts a request again that was on its way to the core while its version was loaded anew.

        Returns:
            Whether it did: the catalog has another generation of what the request names. It has been told of it before
            the core refused the request.
        """
        if state.entry is None or state.cancel_timer is None:
            return False
        with contextlib.suppress(RequestError):
            if self._catalog.resolve(state.request.model, state.request.version)[0].lane == state.entry.lane:
                return False
            state.cancel_timer()
            self.in_flight -= 1
            self._event_log.write("ended", self._clock(), request=state.number, outcome=rejection_reason(error))
            state.entry = state.model = state.ticket = state.cancel_timer = None
            state.number = next(self._numbers)
            self._start(state)
            return True
        return False

    def _end(self, state: RequestState, outcome: str) -> None:
        state.is_done = True
        if state.cancel_timer is not None:  # it was admitted
            state.cancel_timer()
            self.in_flight -= 1
        try:
            self._report_end(state, outcome)
        except ESCAPES as error:
            self._supervisor.report(REPORT_PART, error)
        # The ticket refers to the request: without this, the cycle would keep the image and an unloaded model alive.
        state.entry = state.model = state.ticket = state.cancel_timer = None

    def _report_end(self, state: RequestState, outcome: str) -> None:
        now = self._clock()
        self._event_log.write("ended", now, request=state.number, outcome=outcome)
        if state.record_context is not None and self._record_handler is not None:
            self._record_handler.request_ended(state.record_context, record_of(state, self._catalog, outcome, now))

    def _record_unstarted(self, request: Request, outcome: str, arrived_at: float) -> None:
        """Records a request that was refused with all others of its call."""
        if self._record_handler is None:
            return
        number = next(self._numbers)
        context = self._record_handler.sample(number)
        if context is not None:
            refused = RequestState(number, request, arrived_at, _ignore_outcome, self._complete)
            self._record_handler.request_ended(context, record_of(refused, self._catalog, outcome, self._clock()))

    def _reject(self, request: Request, error: RequestError, arrived_at: float) -> str:
        """Reports a rejected request to the observer; returns the reason."""
        reason = rejection_reason(error)
        try:
            name, version = named_version(self._catalog, request)
            self._observer.rejected(name, reason, version, self._clock() - arrived_at)
        except ESCAPES as fault:
            self._supervisor.report(REPORT_PART, fault)
        return reason


def _without_frames(error: RequestError) -> RequestError:
    """Removes the traceback and context, whose frames refer to the request and so form a cycle with the error."""
    error.__context__ = None
    return error.with_traceback(None)


def _no_op() -> None:
    """Cancels the expiry of a request without a deadline."""


def _ignore_outcome(outcome: Outcome) -> None:
    """Drops the outcome of a request that was refused with its call."""
