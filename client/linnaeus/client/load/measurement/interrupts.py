"""Ctrl-C as a number that is looked at where it is safe, not as an exception anywhere.

It must not know what is interrupted.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Counts SIGINT while it is entered, if on the main thread; elsewhere Python lets nobody listen.

    Attributes:
        count: of interrupts so far; whoever catches a KeyboardInterrupt adds to it.
    """

    def __init__(self) -> None:
        self.count = 0
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
