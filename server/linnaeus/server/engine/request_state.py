"""One image under way, from the moment it is asked for until somebody is told its outcome.

It must not know who begins and ends it, nor how: see `in_flight`.
"""

from collections.abc import Callable
from typing import TypeAlias

from linnaeus.server.errors import RequestError
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.requests.request import Classification, Ranked, Request, WorkTicket
from linnaeus.server.runtime.model import Model

# What became of one image among many.
Outcome: TypeAlias = Classification | RequestError
# Told once, perhaps before the image's `begin` returns; must not raise.
Settled: TypeAlias = Callable[[Outcome], None]


class Flight:
    """One image under way, which its work takes for the future of its answer.

    Invariants:
        1. `settled` is told once; never if the caller leaves.
        2. Whatever comes after the end is ignored.

    Attributes:
        number: counts the engine's requests.
        request: what was asked for.
        came_at: when, by the engine's clock.
        settled: whom to tell.
        is_over: whether it has its outcome, or its caller left.
        entry, model, ticket: once it is admitted.
        call_off: ends the wait for its deadline.
        mark: what the follower wants back at the end; None if it is not followed.
    """

    __slots__ = (
        "_land",
        "call_off",
        "came_at",
        "entry",
        "is_over",
        "mark",
        "model",
        "number",
        "request",
        "settled",
        "ticket",
    )

    def __init__(
        self,
        number: int,
        request: Request,
        came_at: float,
        settled: Settled,
        land: Callable[["Flight", Ranked | RequestError], None],
    ) -> None:
        self.number = number
        self.request = request
        self.came_at = came_at
        self.settled = settled
        self.is_over = False
        self.entry: Entry | None = None
        self.model: Model | None = None
        self.ticket: WorkTicket | None = None
        self.call_off: Callable[[], None] | None = None
        self.mark: object | None = None
        self._land = land

    def done(self) -> bool:
        """Whether it is over."""
        return self.is_over

    def set_result(self, ranked: Ranked, /) -> None:
        """Ends it with an answer."""
        self._land(self, ranked)

    def set_exception(self, error: RequestError, /) -> None:
        """Ends it without one."""
        self._land(self, error)
