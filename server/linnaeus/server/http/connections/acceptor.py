"""Accepts connections: no more than may be open, those in the handshake of TLS included."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

from linnaeus.server.http.connections.syn_filter import discard_syns
from linnaeus.server.process.limited_log import LimitedLog

logger = logging.getLogger(__name__)

_CANNOT_ACCEPT = "HTTP cannot accept a connection: %s"
# What a process that may open no further file waits.
_RETRY_SECONDS = 0.1
# Connections accepted in one step of the event loop.
_MOST_AT_ONCE = 100


class Acceptor:
    """Accepts the connections of a listening socket; further ones than the maximum are closed at once.

    An event loop's own server does not bound connections in the handshake, of which its protocol knows nothing.

    Belongs to the event loop's thread.

    Args:
        listener: the socket, which listens and does not block; closed by `stop_listening`.
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
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._begin()

    def released(self) -> None:
        """Called when a connection has ended."""
        self.open -= 1
        if not self.open:
            self.none_open.set()

    def discard_syns(self) -> None:
        """Begins no further TCP handshake, and completes those under way: so long before `stop_listening`."""
        if self._listener.fileno() >= 0:
            discard_syns(self._listener)

    def stop_listening(self) -> None:
        """Accepts what waits in the kernel, which would lose it, and no more; handshakes and connections go on."""
        if self._listener.fileno() < 0:
            return  # it has stopped before
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener.fileno())
        try:
            while True:
                with contextlib.suppress(ConnectionAbortedError):  # its caller has left; others may wait
                    self._accept()
        except BlockingIOError:
            pass  # none waits
        except OSError as error:
            self._log.log(_CANNOT_ACCEPT, error)
        self._listener.close()

    def end_handshakes(self) -> None:
        """Ends the handshakes that are under way; connections stay open."""
        for task in self._connecting:
            task.cancel()

    def _begin(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listener.fileno(), self._accept_waiting)

    def _accept_waiting(self) -> None:
        try:
            for _ in range(_MOST_AT_ONCE):
                self._accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            pass  # none waits, or its caller has left
        except OSError as error:
            self._log.log(_CANNOT_ACCEPT, error)
            self._loop.remove_reader(self._listener.fileno())
            self._retry = self._loop.call_later(_RETRY_SECONDS, self._begin)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if self.open >= self._max_connections:
            connection.close()
            return
        connection.setblocking(False)
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
            await self._loop.connect_accepted_socket(self._protocol, connection, ssl=tls, ssl_handshake_timeout=seconds)
            is_connected = True
        except OSError:
            pass  # the caller's handshake failed, or it has left
        finally:
            if not is_connected:
                connection.close()
                self.released()
