"""How much of a call's time is left: one call may ask twice, its time is given once."""

import time
from collections.abc import Callable
from dataclasses import dataclass

# gRPC takes a timeout of 0 for none at all; what is this late ends at once.
_LEAST_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of one call.

    Attributes:
        seconds: what the call was given, for sentences.
        ends_at_seconds: on the clock.
        clock: monotonic, in seconds.
    """

    seconds: float
    ends_at_seconds: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> "Deadline":
        """A deadline that many seconds from now."""
        return cls(seconds, clock() + seconds, clock)

    @property
    def left_seconds(self) -> float:
        """What is left, above 0."""
        return max(self.ends_at_seconds - self.clock(), _LEAST_SECONDS)
