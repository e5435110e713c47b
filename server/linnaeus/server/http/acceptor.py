"""Accepts connections: no more than may be open, those in the handshake of TLS included."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from linnaeus.server.process.limited_log import LimitedLog

logger = logging.getLogger(__name__)

# What a process without further files, or a connection that has ended before it was accepted, waits.
_RETRY_SECONDS = 0.1


class Acceptor:
    """Accepts the connections of a listening socket; further ones than the maximum are closed at once.

    An event loop's own server does not bound connections in the handshake, of which its protocol knows nothing.

    Belongs to the event loop's thread.

    Args:
        listener: the socket, which listens and does not block; closed by `close`.
        protocol: makes the protocol of a connection, whose end is told by `released`.
        max_connections: the maximum number of connections.
        tls: returns the context of a handshake; None for no TLS.
        handshake_seconds: the maximum time of a handshake.

    Attributes:
        open: the number of connections.
        none_open: set while there is none.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        max_connections: int,
        tls: Callable[[], ssl.SSLContext] | None,
        handshake_seconds: float,
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._max_connections = max_connections
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._log = LimitedLog(logger, logging.WARNING)
        self._connecting = set[asyncio.Task[None]]()
        self.open = 0
        self.none_open = asyncio.Event()
        self.none_open.set()
        self._accepting = asyncio.create_task(self._accept())

    def released(self) -> None:
        """Called when a connection has ended."""
        self.open -= 1
        if not self.open:
            self.none_open.set()

    async def close(self) -> None:
        """Accepts no more, and ends the handshakes; connections stay open."""
        tasks = [self._accepting, *self._connecting]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                self._log.log("HTTP cannot accept a connection: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if self.open >= self._max_connections:
                connection.close()
                continue
            self.open += 1
            self.none_open.clear()
            task = asyncio.create_task(self._connect(connection))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        is_connected = False
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls = None if self._tls is None else self._tls()
            seconds = None if tls is None else self._handshake_seconds
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(self._protocol, connection, ssl=tls, ssl_handshake_timeout=seconds)
            is_connected = True
        except OSError:
            pass  # the caller's handshake failed, or it has left
        finally:
            if not is_connected:
                connection.close()
                self.released()
