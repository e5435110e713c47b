"""Timeouts and deadlines: one call may send several requests; all of them share one deadline."""

import time
from collections.abc import Callable
from dataclasses import dataclass

# gRPC takes a timeout of 0 for no timeout. A call this late ends at once.
_MIN_TIMEOUT_SECONDS = 1e-6
# gRPC's clock overflows at about three hundred years, and then every deadline counts as passed.
_MAX_TIMEOUT_SECONDS = 366 * 24 * 3600.0


def check_timeout(timeout_seconds: float) -> float:
    """Returns the timeout as a float.

    Raises:
        ValueError: if it is not a number above 0 and at most a year.
    """
    is_number = isinstance(timeout_seconds, int | float) and not isinstance(timeout_seconds, bool)
    if not is_number or not 0 < timeout_seconds <= _MAX_TIMEOUT_SECONDS:
        raise ValueError(f"timeout_seconds must be above 0 and at most a year, not {timeout_seconds!r}")
    return float(timeout_seconds)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment at which one call must have ended.

    Attributes:
        timeout_seconds: the timeout that the call began with; shown in error messages.
        ends_at_seconds: the deadline on the clock.
        clock: monotonic, in seconds.
    """

    timeout_seconds: float
    ends_at_seconds: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, timeout_seconds: float, clock: Callable[[], float] = time.monotonic) -> "Deadline":
        """Returns the deadline of a call that begins now."""
        return cls(timeout_seconds, clock() + timeout_seconds, clock)

    @property
    def remaining_seconds(self) -> float:
        """The time that is left; always above 0."""
        return max(self.ends_at_seconds - self.clock(), _MIN_TIMEOUT_SECONDS)
