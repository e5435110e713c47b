"""How busy a replica is: how long its images wait, which share is refused for that, and which share of time it runs.

Pure but for the observer's protocol; the clock is injected.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from linnaeus.server.requests.request import BatchReport

_WINDOW_SECONDS = 5.0
# The reasons of `rejection_reason` of an image whose answer would have come too late, or that found no place.
_FOR_LOAD = frozenset({"deadline", "queue_full"})


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a replica in the last seconds.

    Attributes:
        queue_seconds: how long an answered image waited for a decoder and a device, on average.
        refused: the share of images that were refused because they would have waited too long, from 0 to 1.
        busy: the share of time that the device ran batches, from 0 to 1.
    """

    queue_seconds: float
    refused: float
    busy: float


@dataclass(frozen=True, slots=True)
class _Event:
    at: float
    answered: int
    queue_seconds: float
    run_seconds: float
    refused: int


class LoadMeter:
    """Observes an engine. Belongs to the event loop's thread.

    Args:
        workers: returns how many batches may run at once.
        clock: monotonic time in seconds.
    """

    def __init__(self, workers: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._clock = clock
        self._events: deque[_Event] = deque()
        self._started_at = clock()

    def batch(self, report: BatchReport) -> None:
        """Records a finished batch."""
        waited = sum(each.queue_seconds for each in report.requests)
        self._add(_Event(self._clock(), len(report.requests), waited, report.inference_seconds, 0))

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        """Records a request that was refused for load."""
        if reason in _FOR_LOAD:
            self._add(_Event(self._clock(), 0, 0.0, 0.0, 1))

    def cancelled(self, model: str, stage: str) -> None:
        """Records nothing."""

    def load_failed(self, model: str) -> None:
        """Records nothing."""

    def load(self) -> Load:
        """Returns the load of the last five seconds."""
        now = self._clock()
        self._forget(now)
        answered = sum(each.answered for each in self._events)
        refused = sum(each.refused for each in self._events)
        waited = sum(each.queue_seconds for each in self._events)
        ran = sum(each.run_seconds for each in self._events)
        seconds = min(_WINDOW_SECONDS, max(now - self._started_at, 1.0))
        return Load(
            waited / answered if answered else 0.0,
            refused / (answered + refused) if refused else 0.0,
            min(ran / (seconds * max(self._workers(), 1)), 1.0),
        )

    def _add(self, event: _Event) -> None:
        self._events.append(event)
        self._forget(event.at)

    def _forget(self, now: float) -> None:
        while self._events and self._events[0].at < now - _WINDOW_SECONDS:
            self._events.popleft()
