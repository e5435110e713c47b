"""A log whose lines a caller cannot multiply: at most one in a while."""

import logging
import time
from collections.abc import Callable

_SECONDS = 10.0


class LimitedLog:
    """Writes a warning at most every ten seconds, with the number of those left out.

    Args:
        logger: writes the lines.
        clock: monotonic, in seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._next_at = clock()
        self._left_out = 0

    def warning(self, message: str) -> None:
        """Writes a sentence, or counts it as left out."""
        now = self._clock()
        if now < self._next_at:
            self._left_out += 1
            return
        self._logger.warning("%s; %d more since the last such line", message, self._left_out)
        self._next_at, self._left_out = now + _SECONDS, 0
