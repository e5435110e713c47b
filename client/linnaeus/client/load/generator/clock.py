"""The clock of a generator process: seconds from the start of the measurement, and a sleep that can be interrupted."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """A clock. Any thread may use `now` and `wake`, one thread `wait`."""

    def now(self) -> float:
        """Returns the seconds since the measurement began; negative during the warm-up."""

    def wait(self, seconds: float) -> None:
        """Returns after that time, or as soon as `wake` is called or if it was called since the last wait."""

    def wake(self) -> None:
        """Ends the wait."""


class MonotonicClock:
    """A `Clock` on `time.monotonic`, which all processes of a machine share.

    Args:
        start: the start of the measurement on that clock.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._wake_event = threading.Event()

    def now(self) -> float:
        """See `Clock`."""
        return time.monotonic() - self._start

    def wait(self, seconds: float) -> None:
        """See `Clock`."""
        if seconds > 0:
            self._wake_event.wait(seconds)
        self._wake_event.clear()

    def wake(self) -> None:
        """See `Clock`."""
        self._wake_event.set()
