"""The state of one request, from its arrival until its outcome is delivered.

Holds data only; `in_flight` starts and ends requests. This module must not depend on it.
"""

from collections.abc import Callable
from typing import TypeAlias

from linnaeus.server.errors import RequestError
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.model_store.model_description import ModelDescription
from linnaeus.server.requests.request import Classification, Request, RequestTicket, TimedRanking

# The answer to one request, or its error.
Outcome: TypeAlias = Classification | RequestError
# Called once with the outcome, possibly before `begin` returns; must not raise.
OutcomeCallback: TypeAlias = Callable[[Outcome], None]


class RequestState:
    """The state of one request in flight; the `ResultFuture` of its ticket's payload.

    Belongs to the event loop's thread.

    Invariants:
        1. `on_outcome` is called once, or never if the caller cancels.
        2. A result or error after the end of the request is ignored.

    Attributes:
        number: number of the request, unique within the engine.
        request: the request.
        arrived_at: time of arrival, in seconds of the engine's clock.
        on_outcome: receives the outcome.
        is_done: whether the request has ended or was cancelled.
        entry, model, ticket: set from admission to the end of the request, otherwise None.
        cancel_timer: cancels the timer of the deadline; None before admission and after the end.
        record_context: context of the record handler; None if the request is not sampled.
    """

    __slots__ = (
        "_complete",
        "cancel_timer",
        "arrived_at",
        "entry",
        "is_done",
        "record_context",
        "model",
        "number",
        "request",
        "on_outcome",
        "ticket",
    )

    def __init__(
        self,
        number: int,
        request: Request,
        arrived_at: float,
        on_outcome: OutcomeCallback,
        complete: Callable[["RequestState", TimedRanking | RequestError], None],
    ) -> None:
        self.number = number
        self.request = request
        self.arrived_at = arrived_at
        self.on_outcome = on_outcome
        self.is_done = False
        self.entry: Entry | None = None
        self.model: ModelDescription | None = None
        self.ticket: RequestTicket | None = None
        self.cancel_timer: Callable[[], None] | None = None
        self.record_context: object | None = None
        self._complete = complete

    def done(self) -> bool:
        """Returns whether the request has ended or was cancelled."""
        return self.is_done

    def set_result(self, ranked: TimedRanking, /) -> None:
        """Ends the request with an answer."""
        self._complete(self, ranked)

    def set_exception(self, error: RequestError, /) -> None:
        """Ends the request with an error."""
        self._complete(self, error)
