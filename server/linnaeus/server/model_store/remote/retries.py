"""When a version that could not be fetched is tried again."""

from collections.abc import Callable
from dataclasses import dataclass

from linnaeus.server.model_store.remote.listing import VersionKey

_FIRST_SECONDS = 1.0
# A bucket that could not be reached is asked again within this; what was refused stays so until it is corrected.
_LONGEST_SECONDS = 30.0
_LONGEST_REFUSED_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class _Failure:
    stamp: str
    count: int
    not_before: float


class Retries:
    """The last failures of versions. Belongs to the copying thread.

    Args:
        clock: monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[VersionKey, _Failure] = {}

    def is_due(self, version: VersionKey, stamp: str) -> bool:
        """Returns whether to try a version now: at once if its objects have changed, else after a while."""
        failure = self._failures.get(version)
        return failure is None or failure.stamp != stamp or self._clock() >= failure.not_before

    def failed(self, version: VersionKey, stamp: str, is_refused: bool) -> None:
        """Notes a failure; the next wait is twice as long, up to half a minute or, if it was refused, an hour."""
        before = self._failures.get(version)
        count = before.count + 1 if before and before.stamp == stamp else 0
        longest = _LONGEST_REFUSED_SECONDS if is_refused else _LONGEST_SECONDS
        seconds = min(_FIRST_SECONDS * 2 ** min(count, 20), longest)
        self._failures[version] = _Failure(stamp, count, self._clock() + seconds)

    def succeeded(self, version: VersionKey) -> None:
        """Forgets the failures of a version."""
        self._failures.pop(version, None)

    def keep(self, versions: set[VersionKey]) -> None:
        """Forgets the failures of all other versions."""
        self._failures = {key: failure for key, failure in self._failures.items() if key in versions}
