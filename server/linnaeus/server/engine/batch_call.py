"""One caller who waits for many images at once: for the last of their outcomes, and for an answer that is in time."""

import asyncio
from collections.abc import Sequence

from linnaeus.server.engine.request_state import Outcome
from linnaeus.server.errors import Overloaded, RequestError, Unavailable
from linnaeus.server.requests.request import Request

# The answers of many travel together, once the last image has ended. One that ended at the caller's deadline itself
# would take the others' answers with it, so all end earlier: by a share of their time, which is never long.
_RESPONSE_SHARE = 0.1
_LONGEST_RESPONSE_SECONDS = 0.05


class OutcomeCollector:
    """The outcomes of many images, each at its place, that one caller waits for."""

    def __init__(self, count: int) -> None:
        self._outcomes: list[Outcome | None] = [None] * count
        self._missing = count
        self._complete = asyncio.get_running_loop().create_future()

    def set(self, place: int, outcome: Outcome) -> None:
        """An image has its outcome."""
        self._outcomes[place] = outcome
        self._missing -= 1
        if not self._missing and not self._complete.done():
            self._complete.set_result(None)

    async def wait(self) -> list[Outcome]:
        """Waits for the last one; returns at once if none is missing."""
        if self._missing:
            await self._complete
        return [outcome for outcome in self._outcomes if outcome is not None]


def with_response_margin(requests: Sequence[Request], now: float) -> list[Request]:
    """The same requests, whose deadlines leave time for the answer of all."""
    return [
        request if request.deadline is None else request._replace(deadline=_before(request.deadline, now))
        for request in requests
    ]


def raise_if_all_retryable(outcomes: Sequence[Outcome]) -> None:
    """Refuses a whole call of which no image was taken in, so that it is tried again as one.

    Raises:
        Overloaded, Unavailable: the first image's, if all have one of these.
    """
    if outcomes and all(isinstance(each, Overloaded | Unavailable) for each in outcomes):
        first = outcomes[0]
        if isinstance(first, RequestError):
            raise first


def _before(deadline: float, now: float) -> float:
    return deadline - min(max(deadline - now, 0.0) * _RESPONSE_SHARE, _LONGEST_RESPONSE_SECONDS)
