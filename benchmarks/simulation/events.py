"""A clock and the events on it. Nothing sleeps: the time jumps from one event to the next."""

import heapq
import itertools
from collections.abc import Callable
from math import inf
from typing import Any


class Events:
    """Events in the order of their times; those of one time in the order in which they were added.

    Args:
        pause: from when until when everything stands still: what falls into it happens at its end.

    Attributes:
        now: the time of the event that is happening, in seconds.
    """

    def __init__(self, pause: tuple[float, float] = (inf, inf)) -> None:
        self.now = 0.0
        self._pause = pause
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def at(self, moment: float, what: Callable[..., None], *arguments: Any) -> None:
        """Adds an event; one of the past happens next."""
        heapq.heappush(self._heap, (moment, next(self._order), what, arguments))

    def run(self, until: float = inf) -> None:
        """Lets the events up to a time happen, and those that they add."""
        heap, (paused, resumed) = self._heap, self._pause
        while heap and heap[0][0] <= until:
            moment, _, what, arguments = heapq.heappop(heap)
            if paused <= moment < resumed:
                self.now = resumed
            elif moment > self.now:
                self.now = moment
            what(*arguments)
