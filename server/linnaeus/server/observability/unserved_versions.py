"""Which model versions are no longer served, and when their series are dropped."""

from collections.abc import Callable, Hashable, Set
from typing import Generic, TypeVar

# Long enough for several scrapes after the last call.
KEEP_SECONDS = 600.0
# Where versions change faster, only the series of so many that are no longer served are kept.
MAX_KEPT = 32

Key = TypeVar("Key", bound=Hashable)


class Unserved(Generic[Key]):
    """The things with series that are no longer served, and since when.

    Args:
        clock: monotonic time, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[Key, float] = {}

    def update(self, recorded: Set[Key], served: Set[Key]) -> list[Key]:
        """Returns what is to be dropped, of everything that has series."""
        now = self._clock()
        self._since = {key: self._since.get(key, now) for key in recorded - served}
        oldest_first = sorted(self._since, key=lambda key: self._since[key])
        surplus = len(oldest_first) - MAX_KEPT
        dropped = [
            key for place, key in enumerate(oldest_first) if place < surplus or now - self._since[key] >= KEEP_SECONDS
        ]
        for key in dropped:
            del self._since[key]
        return dropped

    def seconds_to_next(self) -> float | None:
        """Returns the seconds until something is to be dropped; None if all that has series is served."""
        if not self._since:
            return None
        return max(min(self._since.values()) + KEEP_SECONDS - self._clock(), 0.0)
