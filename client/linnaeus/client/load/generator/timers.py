"""Things to be done at their moments by the one thread that waits.

It must not know what they are.
"""

import heapq
import threading
from collections.abc import Callable
from itertools import count

from linnaeus.client.load.generator.clock import Clock


class Timers:
    """Actions by moment; `at` and `wake` may be called from any thread, `wait` and `run_due` by one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._order = count()
        self._waiting: list[tuple[float, int, Callable[[], object]]] = []

    def at(self, moment: float, action: Callable[[], object]) -> None:
        """Has something done at a moment of the clock, or as soon as possible if it has passed."""
        with self._lock:
            heapq.heappush(self._waiting, (moment, next(self._order), action))
        self._clock.wake()

    def wake(self) -> None:
        """Ends the wait, so that its caller looks around."""
        self._clock.wake()

    def wait(self, seconds: float) -> None:
        """Sleeps so long, or until the next action is due or someone wakes it; does what is due."""
        self._clock.wait(min(seconds, self._next_moment() - self._clock.now()))
        self.run_due()

    def run_due(self) -> None:
        """Does what is due."""
        while self._next_moment() <= self._clock.now():
            with self._lock:
                _, _, action = heapq.heappop(self._waiting)
            action()

    def _next_moment(self) -> float:
        with self._lock:
            return self._waiting[0][0] if self._waiting else float("inf")
