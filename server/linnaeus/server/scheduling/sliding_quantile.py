"""The latest of a stream of values."""

from bisect import bisect_left, insort
from collections import deque
from math import ceil, inf


class SlidingQuantile:
    """The values of the last seconds, and a few at least, however old.

    Belongs to the queue's lock.

    Args:
        seconds: how far back it looks.
        least: values that are kept even if they are older.
        most: values that are kept at most.
    """

    def __init__(self, seconds: float, least: int, most: int = 256) -> None:
        self._seconds = seconds
        self._least = least
        self._most = most
        self._values: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []  # kept in order: every request asks, and sorting costs more than it

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float, now: float) -> None:
        """Adds the newest one, and lets go of those that are too old."""
        self._values.append((now, value))
        insort(self._sorted, value)
        oldest_kept = now - self._seconds
        while len(self._values) > self._most or (len(self._values) > self._least and self._values[0][0] <= oldest_kept):
            _, gone = self._values.popleft()
            del self._sorted[bisect_left(self._sorted, gone)]

    def age(self, now: float) -> float:
        """Seconds since the newest one."""
        return now - self._values[-1][0] if self._values else inf

    def quantile(self, share: float, otherwise: float = 0.0) -> float:
        """The smallest value that this share of the values does not exceed; `otherwise` if there are none."""
        return self._sorted[max(ceil(share * len(self._sorted)), 1) - 1] if self._sorted else otherwise
