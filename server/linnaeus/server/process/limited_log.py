"""Logs a message that strangers can cause at will, without filling the log."""

import logging
import threading
import time
from collections.abc import Callable


class LimitedLog:
    """Logs one line an interval and counts the rest, which the next line tells. Any thread may use it.

    Args:
        logger: receives the lines.
        level: of the lines.
        interval_seconds: shortest time between two lines.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        logger: logging.Logger,
        level: int,
        interval_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._level = level
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._next = float("-inf")
        self._left_out = 0

    def log(self, message: str, *arguments: object) -> None:
        """Logs a message, or counts it if the last line is too recent."""
        with self._lock:
            now = self._clock()
            if now < self._next:
                self._left_out += 1
                return
            left_out, self._left_out = self._left_out, 0
            self._next = now + self._interval_seconds
        suffix = f" ({left_out} more since the last such line)" if left_out else ""
        self._logger.log(self._level, message + suffix, *arguments)
