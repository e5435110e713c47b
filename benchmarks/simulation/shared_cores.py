"""The cores of a machine, which its batches share with each other and with what calls and decoders take of them."""

from collections.abc import Callable

from benchmarks.simulation.calls import Call
from benchmarks.simulation.events import Events
from linnaeus.server.scheduling import Batch

# What is left of a batch is less than rounding.
_ROUNDING_SECONDS = 1e-9


class SharedCores:
    """Runs batches at equal shares of all cores (processor sharing); of two, each runs at half its speed.

    Args:
        events: the simulation's.
        cores: how many there are.
        on_end: receives each batch that has run.
    """

    def __init__(self, events: Events, cores: int, on_end: Callable[[Batch[Call]], None]) -> None:
        self._events = events
        self._cores = cores
        self._on_end = on_end
        self._left: dict[Batch[Call], float] = {}  # seconds that each batch would still take alone
        self._updated_at = 0.0
        self._taken_seconds = 0.0  # by others, since then
        self._changes = 0

    def take(self, seconds: float) -> None:
        """Gives processor time to something that goes first; nothing of it is lost to batches that begin later."""
        if self._left:
            self._taken_seconds += seconds

    def run(self, batch: Batch[Call], seconds: float) -> None:
        """Begins a batch that would take so long alone."""
        self._progress()
        self._left[batch] = seconds
        self._await_next()

    def stop(self, batch: Batch[Call]) -> None:
        """Ends a batch before it has run."""
        self._progress()
        del self._left[batch]
        self._await_next()

    def _progress(self) -> None:
        """Lets the batches have what has passed since the last time, less what others took."""
        elapsed, taken = self._events.now - self._updated_at, self._taken_seconds / self._cores
        if self._left:
            share = max(elapsed - taken, 0.0) / len(self._left)
            for batch in self._left:
                self._left[batch] -= share
        self._updated_at = self._events.now
        self._taken_seconds = max(taken - elapsed, 0.0) * self._cores if self._left else 0.0

    def _await_next(self) -> None:
        self._changes += 1
        if self._left:
            seconds = min(self._left.values()) * len(self._left) + self._taken_seconds / self._cores
            self._events.at(self._events.now + seconds, self._look, self._changes)

    def _look(self, changes: int) -> None:
        """Ends the batch that has nothing left, unless something changed since this was scheduled."""
        if changes != self._changes:
            return
        self._progress()
        batch = min(self._left, key=self._left.__getitem__)
        if self._left[batch] > _ROUNDING_SECONDS:
            return self._await_next()  # others took time meanwhile
        del self._left[batch]
        self._await_next()
        self._on_end(batch)
