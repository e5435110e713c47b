"""Calls with several images: collects their outcomes and reserves time for the common response.

Belongs to the event loop's thread. This module must not know gRPC or how requests are run.
"""

import asyncio
from collections.abc import Sequence

from linnaeus.server.engine.request_state import Outcome
from linnaeus.server.errors import Overloaded, RequestError, Unavailable
from linnaeus.server.requests.request import Request

# The response is sent once the last image has ended. An image that ended exactly at the caller's deadline would make
# the whole response late, so every image's deadline is made earlier by a share of its time, up to a maximum.
_RESPONSE_SHARE = 0.1
_LONGEST_RESPONSE_SECONDS = 0.05


class OutcomeCollector:
    """The outcomes of one call's images, in the order of the images.

    Args:
        count: number of images.
    """

    def __init__(self, count: int) -> None:
        self._outcomes: list[Outcome | None] = [None] * count
        self._missing = count
        self._complete = asyncio.get_running_loop().create_future()

    def set(self, index: int, outcome: Outcome) -> None:
        """Stores the outcome of the image at `index`; each image must be set once."""
        self._outcomes[index] = outcome
        self._missing -= 1
        if not self._missing and not self._complete.done():
            self._complete.set_result(None)

    async def wait(self) -> list[Outcome]:
        """Waits until every image has its outcome and returns them in order."""
        if self._missing:
            await self._complete
        return [outcome for outcome in self._outcomes if outcome is not None]


def with_response_margin(requests: Sequence[Request], now: float) -> list[Request]:
    """Returns the requests with earlier deadlines, which leave time for the common response.

    Args:
        requests: the requests of one call.
        now: time of the engine's clock, in seconds.
    """
    return [
        request if request.deadline is None else request._replace(deadline=_before(request.deadline, now))
        for request in requests
    ]


def raise_if_all_retryable(outcomes: Sequence[Outcome]) -> None:
    """Refuses a whole call if every image was refused with a retryable error, so that the caller retries it as one.

    Raises:
        Overloaded, Unavailable: if every image has one of these errors; the first image's error is raised.
    """
    if outcomes and all(isinstance(each, Overloaded | Unavailable) for each in outcomes):
        first = outcomes[0]
        if isinstance(first, RequestError):
            raise first


def _before(deadline: float, now: float) -> float:
    return deadline - min(max(deadline - now, 0.0) * _RESPONSE_SHARE, _LONGEST_RESPONSE_SECONDS)
