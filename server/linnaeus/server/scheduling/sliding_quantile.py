"""Quantiles over a sliding window."""

from bisect import bisect_left, insort
from collections import deque
from math import ceil, inf


class SlidingQuantile:
    """The values of the last seconds; at least `min_count` of them, however old.

    Guarded by the queue's lock.

    Args:
        seconds: length of the window.
        min_count: number of values that are kept even if they are older.
        max_count: maximum number of values.
    """

    def __init__(self, seconds: float, min_count: int, max_count: int = 256) -> None:
        self._seconds = seconds
        self._min_count = min_count
        self._max_count = max_count
        self._values: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []  # kept sorted: every request reads a quantile, which would cost a sort

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float, now: float) -> None:
        """Adds a value and forgets those outside the window."""
        self._values.append((now, value))
        insort(self._sorted, value)
        oldest_kept = now - self._seconds
        while len(self._values) > self._max_count or (
            len(self._values) > self._min_count and self._values[0][0] <= oldest_kept
        ):
            _, expired = self._values.popleft()
            del self._sorted[bisect_left(self._sorted, expired)]

    def clear(self) -> None:
        """Forgets every value."""
        self._values.clear()
        self._sorted.clear()

    def age(self, now: float) -> float:
        """Returns the seconds since the newest value; infinite if there is none."""
        return now - self._values[-1][0] if self._values else inf

    def quantile(self, share: float, default: float = 0.0) -> float:
        """Returns the smallest value that at least this share of the values does not exceed; `default` if empty."""
        return self._sorted[max(ceil(share * len(self._sorted)), 1) - 1] if self._sorted else default
