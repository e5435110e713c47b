"""Images of which nobody awaits a single one: those of a batch or a stream, without a task or a future for each.

An image takes the same line as one that is asked for alone. Only the end differs: somebody is told of it in place of
being woken. Everything here belongs to the event loop's thread.

Must not know who asks, nor how answers are spoken of on the wire.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from linnaeus.server.engine.catalog import Entry
from linnaeus.server.engine.work import Classification, Ranked, Request, WorkTicket
from linnaeus.server.errors import Overloaded, RequestError, Unavailable
from linnaeus.server.runtime.model import Model

# What became of one image among many.
Outcome: TypeAlias = Classification | RequestError
# Told once, perhaps before the image's `begin` returns; must not raise.
Settled: TypeAlias = Callable[[Outcome], None]

# The answers of many travel together, once the last image has ended. One that ended at the caller's deadline itself
# would take the others' answers with it, so all end earlier: by a share of their time, which is never long.
_TRAVEL_SHARE = 0.1
_LONGEST_TRAVEL_SECONDS = 0.05


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
    """

    __slots__ = ("_land", "call_off", "came_at", "entry", "is_over", "model", "number", "request", "settled", "ticket")

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


class Awaited:
    """The outcomes of many images, each at its place, that one caller waits for."""

    def __init__(self, count: int) -> None:
        self._outcomes: list[Outcome | None] = [None] * count
        self._missing = count
        self._complete = asyncio.get_running_loop().create_future()

    def settled(self, place: int, outcome: Outcome) -> None:
        """An image has its outcome."""
        self._outcomes[place] = outcome
        self._missing -= 1
        if not self._missing and not self._complete.done():
            self._complete.set_result(None)

    async def all(self) -> list[Outcome]:
        """Waits for the last one; returns at once if none is missing."""
        if self._missing:
            await self._complete
        return [outcome for outcome in self._outcomes if outcome is not None]


def with_time_to_travel(requests: Sequence[Request], now: float) -> list[Request]:
    """The same requests, whose deadlines leave time for the answer of all."""
    return [
        request if request.deadline is None else replace(request, deadline=_before(request.deadline, now))
        for request in requests
    ]


def raise_if_all_may_come_back(outcomes: Sequence[Outcome]) -> None:
    """Refuses a whole call of which no image was taken in, so that it is tried again as one.

    Raises:
        Overloaded, Unavailable: the first image's, if all have one of these.
    """
    if outcomes and all(isinstance(each, Overloaded | Unavailable) for each in outcomes):
        first = outcomes[0]
        if isinstance(first, RequestError):
            raise first


def _before(deadline: float, now: float) -> float:
    return deadline - min(max(deadline - now, 0.0) * _TRAVEL_SHARE, _LONGEST_TRAVEL_SECONDS)
