"""The event log of a core in another process."""

from collections.abc import Callable, Sequence
from typing import Any

from linnaeus.server.link.messages import Event, Message


class RemoteEventLog:
    """Implements `EventLog` by messages to the core, so that there is one log."""

    lost_lines = 0

    def __init__(self, is_on: bool, send: Callable[[Sequence[Message]], None]) -> None:
        self.is_on = is_on
        self._send = send

    def write(self, event: str, at: float, **fields: Any) -> None:
        """Sends an event to the core."""
        if self.is_on:
            self._send([Event(event, at, fields)])

    def close(self) -> None:
        """Does nothing: the core closes its log."""
