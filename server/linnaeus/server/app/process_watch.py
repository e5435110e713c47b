"""Notices processes that run but do not respond: those that were stopped, hang in a library or wait for a lock.

Knows neither what the processes do nor how messages reach them.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

logger = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
# Longer than a model that is loaded holds the interpreter.
SILENT_TICKS = 4
# Longer than anything that passes: a machine that swaps, a disk that stalls, a huge model that comes over a network
# while its library holds the interpreter.
HUNG_TICKS = 120


class ProcessWatch:
    """Asks each process once a second whether it responds. Belongs to the event loop's thread.

    It counts what it asked in vain, not seconds: if this process, or the whole machine, stood still, that is one.

    Args:
        on_change: called when a process falls silent, and when it responds again.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._watched: dict[str, _Watched] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def silent(self) -> Mapping[str, int]:
        """The processes that have not responded for some seconds, by name, and for how many."""
        return {name: each.ticks for name, each in self._watched.items() if each.ticks >= SILENT_TICKS}

    def start(self) -> None:
        """Asks once a second from now on."""
        self._timer = self._loop.call_later(_TICK_SECONDS, self.start)
        self.tick()

    def close(self) -> None:
        """Asks no more, and ends no process."""
        if self._timer is not None:
            self._timer.cancel()
        self._watched.clear()

    def begin(self, name: str, ask: Callable[[], None], kill: Callable[[], None]) -> None:
        """Watches a process, whose start may have taken any time, from now on.

        Args:
            name: its name, unique.
            ask: asks it to respond.
            kill: ends it, because it has not responded for two minutes.
        """
        self._watched[name] = _Watched(ask, kill)

    def end(self, name: str) -> None:
        """Watches a process no more: it has ended."""
        self._watched.pop(name, None)

    def responded(self, name: str) -> None:
        """Records that something came from a process."""
        watched = self._watched.get(name)
        if watched is None:
            return
        was_silent, watched.ticks = watched.ticks >= SILENT_TICKS, 0
        if was_silent:
            self._on_change()

    def tick(self) -> None:
        """Asks every process; ends those that have not responded for too long."""
        for name, watched in self._watched.items():
            watched.ticks += 1
            if watched.ticks == HUNG_TICKS:
                event = {"event": "process_hangs", "process": name}
                logger.error(
                    "the %s has not responded for %d s: it is killed", name, HUNG_TICKS, extra={"event": event}
                )
                watched.kill()
            watched.ask()
        if any(watched.ticks == SILENT_TICKS for watched in self._watched.values()):
            self._on_change()


@dataclass(slots=True)
class _Watched:
    """A process that is watched, and how often it was asked since something came from it."""

    ask: Callable[[], None]
    kill: Callable[[], None]
    ticks: int = 0
