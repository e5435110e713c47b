"""The request that a connection runs, so that the connection's end cancels it."""

import asyncio
from typing import Any

# What a request's scope has of its connection.
SCOPE_KEY = "linnaeus.connection"


class RunningRequest:
    """The request that a connection runs now. Belongs to the event loop's thread.

    Attributes:
        task: its task; None between requests.
        is_lost: whether the caller has left.
        is_stopped: whether the server stops and waits no longer.
        identities: the names in the caller's certificate; empty if it has none.
    """

    __slots__ = ("identities", "is_lost", "is_stopped", "task")

    def __init__(self, identities: tuple[bytes, ...]) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.is_lost = False
        self.is_stopped = False
        self.identities = identities

    def lose(self) -> None:
        """Cancels the request: its caller has left."""
        self.is_lost = True
        self._cancel()

    def stop(self) -> None:
        """Cancels the request: the server waits no longer."""
        self.is_stopped = True
        self._cancel()

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()
