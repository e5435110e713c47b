"""Faults that tests inject: a function that raises a number of times and then works."""

import threading
from collections.abc import Callable
from typing import Any

# Everything that a library may raise on a thread: ordinary faults, no memory, and what Python ends threads by silently.
FAULTS: list[type[BaseException]] = [ZeroDivisionError, MemoryError, SystemExit]


class FailsFirst:
    """A replacement of a function that raises `error` at the first `times` calls, and then does what `real` does.

    Attributes:
        left: how many calls will raise; the test may set it again.
        raised: set once a call has raised.
    """

    def __init__(self, real: Callable[..., Any], error: type[BaseException], times: int = 1) -> None:
        self._real = real
        self._error = error
        self.left = times
        self.raised = threading.Event()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.left > 0:
            self.left -= 1
            self.raised.set()
            raise self._error("injected")
        return self._real(*arguments, **options)


def refuse_threads(monkeypatch: Any, after: int = 0) -> None:
    """Makes the process start no more threads, after this many."""
    real, started = threading.Thread.start, [0]

    def start(thread: threading.Thread) -> None:
        if started[0] >= after:
            raise RuntimeError("can't start new thread")
        started[0] += 1
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
