"""The end of a child's socket to the supervisor."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from linnaeus.server.link.connection import Connection
from linnaeus.server.link.control_messages import Ping, Pong, Start, ToChild
from linnaeus.server.link.messages import Message

_FAILED = 1


class Control:
    """The child's end of its socket to the supervisor. Belongs to the event loop's thread.

    Attributes:
        start: the first message, once it has come.
    """

    def __init__(self) -> None:
        self.start: asyncio.Future[Start] = asyncio.get_running_loop().create_future()
        self._early: list[Any] = []
        self._on_message: Callable[[Any], None] = self._early.append
        self._connection: Connection[ToChild] = Connection(ToChild, self._received, self._lost)

    async def open(self, opened: socket.socket) -> None:
        """Begins to receive messages from the supervisor."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self._connection, sock=opened)

    def receive(self, on_message: Callable[[Any], None]) -> None:
        """Passes on the messages after the first, also those that have come already."""
        self._on_message = on_message
        for message in self._early:
            on_message(message)
        self._early.clear()

    def send(self, message: Message) -> None:
        """Sends a message to the supervisor."""
        self._connection.send(message)

    def flush(self) -> None:
        """Sends what has gathered now."""
        self._connection.flush()

    def _received(self, _: Connection[ToChild], messages: Sequence[ToChild]) -> None:
        for message in messages:
            if isinstance(message, Start):
                self.start.set_result(message)
            elif isinstance(message, Ping):
                self.send(Pong())
            else:
                self._on_message(message)

    def _lost(self, _: Connection[ToChild]) -> None:
        os._exit(_FAILED)  # without a supervisor nothing would stop or restart this process
