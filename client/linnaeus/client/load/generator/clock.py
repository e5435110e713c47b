"""Time as a sending process has it: seconds from the start of measuring, and a sleep that can be cut short."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """`now` and `wake` may be used by any thread, `wait` by one."""

    def now(self) -> float:
        """Seconds since measuring began; negative before."""

    def wait(self, seconds: float) -> None:
        """Returns after that time, or at once when `wake` is called or was called since the last wait."""

    def wake(self) -> None:
        """Ends the wait."""


class MonotonicClock:
    """A `Clock` on `time.monotonic`, which all processes of a machine share.

    Args:
        start: the moment on that clock at which measuring begins.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._awake = threading.Event()

    def now(self) -> float:
        """See `Clock`."""
        return time.monotonic() - self._start

    def wait(self, seconds: float) -> None:
        """See `Clock`."""
        if seconds > 0:
            self._awake.wait(seconds)
        self._awake.clear()

    def wake(self) -> None:
        """See `Clock`."""
        self._awake.set()
