"""The state of one request, from its arrival until its outcome is delivered.

It must not know who begins and ends it, nor how: see `in_flight`.
"""

from collections.abc import Callable
from typing import TypeAlias

from linnaeus.server.errors import RequestError
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.requests.request import Classification, Request, RequestTicket, TimedRanking
from linnaeus.server.runtime.model import Model

# What became of one image among many.
Outcome: TypeAlias = Classification | RequestError
# Told once, perhaps before the image's `begin` returns; must not raise.
OutcomeCallback: TypeAlias = Callable[[Outcome], None]


class RequestState:
    """One request in flight; implements `ResultFuture` for the payload of its ticket.

    Invariants:
        1. `on_outcome` is told once; never if the caller cancels.
        2. Whatever comes after the end is ignored.

    Attributes:
        number: counts the engine's requests.
        request: what was asked for.
        arrived_at: when, by the engine's clock.
        on_outcome: whom to tell.
        is_done: whether it has its outcome, or its caller left.
        entry, model, ticket: once it is admitted.
        cancel_timer: ends the wait for its deadline.
        record_context: what the record handler gets back at the end; None if the request is not sampled.
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
        self.model: Model | None = None
        self.ticket: RequestTicket | None = None
        self.cancel_timer: Callable[[], None] | None = None
        self.record_context: object | None = None
        self._complete = complete

    def done(self) -> bool:
        """Whether it is over."""
        return self.is_done

    def set_result(self, ranked: TimedRanking, /) -> None:
        """Ends it with an answer."""
        self._complete(self, ranked)

    def set_exception(self, error: RequestError, /) -> None:
        """Ends it without one."""
        self._complete(self, error)
