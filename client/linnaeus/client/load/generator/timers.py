"""Timers: callbacks that run at set times in the thread that waits."""

import heapq
import threading
from collections.abc import Callable
from itertools import count

from linnaeus.client.load.generator.clock import Clock


class Timers:
    """Callbacks by time. Any thread may use `schedule` and `wake`, one thread `wait` and `run_due`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._order = count()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []

    def schedule(self, when: float, callback: Callable[[], object]) -> None:
        """Schedules a callback at a time of the clock; it runs as soon as possible if that has passed."""
        with self._lock:
            heapq.heappush(self._timers, (when, next(self._order), callback))
        self._clock.wake()

    def wake(self) -> None:
        """Makes `wait` return."""
        self._clock.wake()

    def wait(self, seconds: float) -> None:
        """Sleeps for that time, or until a timer is due or `wake` is called; runs what is due."""
        self._clock.wait(min(seconds, self._next_due() - self._clock.now()))
        self.run_due()

    def run_due(self) -> None:
        """Runs the callbacks that are due."""
        while self._next_due() <= self._clock.now():
            with self._lock:
                _, _, callback = heapq.heappop(self._timers)
            callback()

    def _next_due(self) -> float:
        with self._lock:
            return self._timers[0][0] if self._timers else float("inf")
