"""The one rule for faults that escape from a thread, a callback or a task: they are logged, counted and answered for.

Each boundary where a fault could end a thread quietly calls `Supervisor.report`, and then answers the callers that wait
for it. This module must not know threads' work, metrics or requests.
"""

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from linnaeus.server.errors import ServerFailed

logger = logging.getLogger(__name__)

# As in Erlang's supervisors: what fails more often than this in this time is not restarted any more.
_MOST_RESTARTS = 3
_RESTART_PERIOD_SECONDS = 10.0
# What may escape from a task without being its cancellation. asyncio lets SystemExit end the event loop.
ESCAPES = (Exception, SystemExit)


def _ignore(part: str) -> None:
    """Ignores a part of the server."""


class Supervisor:
    """Logs and counts faults that escaped, and ends the server if a part that it needs cannot go on.

    Any thread may call every method, except `watch_process`.

    Args:
        on_failure: counts a fault, by the part of the server that it escaped from; must not block.
        on_fatal: ends the server, because the named part cannot go on; must not block.
        clock: monotonic time in seconds, for the limit of restarts.
    """

    def __init__(
        self,
        on_failure: Callable[[str], object] = _ignore,
        on_fatal: Callable[[str], object] = _ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_failure = on_failure
        self._on_fatal = on_fatal
        self._failed_part = ""
        self.clock = clock

    def report(self, part: str, error: BaseException, subject: str = "") -> str:
        """Logs and counts a fault; returns its log reference. Never raises: little may work after a MemoryError.

        Args:
            part: the part of the server, a label of the metric: one of few fixed words.
            error: the fault.
            subject: what failed, for the log; empty for the part.
        """
        reference = uuid.uuid4().hex[:12]
        with contextlib.suppress(BaseException):
            logger.error("%s failed [%s]", subject or part.replace("_", " "), reference, exc_info=error)
        with contextlib.suppress(BaseException):
            self._on_failure(part)
        return reference

    def end_server(self, part: str) -> None:
        """Ends the server, because a part without which it cannot answer keeps failing."""
        logger.critical("%s keeps failing: the server stops", part.replace("_", " "))
        self._failed_part = part
        self._on_fatal(part)

    def raise_if_ended(self) -> None:
        """Raises ServerFailed if `end_server` was called."""
        if self._failed_part:
            part = self._failed_part.replace("_", " ")
            raise ServerFailed(f"it stopped because its part {part} kept failing; its log has the causes")

    def watch_process(self, loop: asyncio.AbstractEventLoop) -> None:
        """Also reports what escapes from threads of libraries and from callbacks of the event loop."""
        threading.excepthook = self._thread_failed
        loop.set_exception_handler(self._callback_failed)

    def _thread_failed(self, args: Any) -> None:
        self.report("other_thread", args.exc_value or args.exc_type())

    def _callback_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.report("event_loop", error)
        else:
            loop.default_exception_handler(context)


class RestartLimit:
    """Whether what failed may be restarted: by default at most 3 times in 10 s. Belongs to one thread.

    Args:
        clock: monotonic time in seconds.
        most: the largest number of restarts in the period.
        period_seconds: the period.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        most: int = _MOST_RESTARTS,
        period_seconds: float = _RESTART_PERIOD_SECONDS,
    ) -> None:
        self._clock = clock
        self._most = most
        self._period_seconds = period_seconds
        self._restarts: deque[float] = deque(maxlen=most)

    @property
    def recent(self) -> int:
        """Number of restarts in the last period."""
        now = self._clock()
        return sum(now - restart < self._period_seconds for restart in self._restarts)

    def allows_restart(self) -> bool:
        """Returns whether there may be a restart now, and counts it."""
        now = self._clock()
        if len(self._restarts) == self._most and now - self._restarts[0] < self._period_seconds:
            return False
        self._restarts.append(now)
        return True
