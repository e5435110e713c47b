"""The HTTP server: its socket, TLS, and the steps of its stop."""

import asyncio
import logging
import ssl
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from linnaeus.server.http.connections.acceptor import Acceptor
from linnaeus.server.http.connections.connection import BoundedProtocol
from linnaeus.server.http.connections.connection_limits import ConnectionLimits
from linnaeus.server.rpc.server import Drainable
from linnaeus.server.security.listen_address import Address, cannot_listen
from linnaeus.server.security.reserved_port import ReservedPort

_BACKLOG = 2048
# A caller's next request, or that of a connection just made, takes this long to arrive: a way around the world, or a
# turn on a busy machine.
_ARRIVAL_SECONDS = 0.2
# As gRPC's: time to write the last answers, and to receive the rest of a request, once no request is in the engine.
_WRITE_SECONDS = 5.0
_RECHECK_SECONDS = 0.05
# Time to answer requests that are cancelled because the server waits no longer.
_LAST_SECONDS = 1.0


class HttpServer:
    """An HTTP server of an ASGI application: uvicorn's protocol over sockets of its own.

    uvicorn's own server bounds neither handshakes nor connections, and looks ten times a second for something to do.

    Lifecycle: construct (reserves the port), `listen` (callers can connect), `lame_duck`, `stop`. Belongs to the event
    loop's thread.

    Args:
        application: answers the requests.
        address: where to listen.
        max_connections: the maximum number of connections; further ones are closed at once.
        tls: returns the context of a handshake, for HTTPS; None for HTTP.
        shares_port: whether other servers may listen on the port, too; the kernel deals connections out among them.
        limits: what a connection may cost.

    Attributes:
        port: the port.

    Raises:
        StartupError: if the port cannot be opened.
    """

    def __init__(
        self,
        application: ASGIApp,
        address: Address,
        max_connections: int,
        tls: Callable[[], ssl.SSLContext] | None = None,
        shares_port: bool = False,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._reserved = ReservedPort(address, "HTTP", is_shared=shares_port)
        self.port = self._reserved.address.port
        self._max_connections = max_connections
        self._tls = tls
        self._limits = limits or ConnectionLimits()
        self._config = uvicorn.Config(
            application, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False
        )
        self._config.load()
        # What a sender does wrong is answered, and would fill the log.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._state = ServerState()
        self._acceptor: Acceptor | None = None
        self._is_lame_duck = False

    @property
    def open_connections(self) -> int:
        """The number of connections, those in the handshake of TLS included."""
        return 0 if self._acceptor is None else self._acceptor.open

    async def listen(self) -> None:
        """Starts to accept connections.

        Raises:
            StartupError: if the port cannot be opened.
        """
        if self._acceptor is not None:
            return
        try:
            listener = self._reserved.listening_socket(_BACKLOG)
        except OSError as error:
            raise cannot_listen("HTTP", self._reserved.address, error) from None
        seconds = self._limits.handshake_seconds
        self._acceptor = Acceptor(listener, self._protocol, self._max_connections, self._tls, seconds)

    def lame_duck(self) -> None:
        """Asks every caller to connect anew, elsewhere, with its next answer; new connections are still taken."""
        self._is_lame_duck = True
        for connection in self._connections():
            connection.leave()

    async def stop(self, engine: Drainable, grace_seconds: float) -> None:
        """Answers what has arrived, and closes the port and all connections.

        A caller that waits for its answers sends its next request as soon as it has one. So connections that idle stay
        open for a moment in which such requests come, and are answered as the connection's last ones; and so does the
        port, for connections that are being made.

        Args:
            engine: works for the requests.
            grace_seconds: the time after which the requests in flight are refused.
        """
        self.lame_duck()
        if self._acceptor is not None:
            await self._drain(self._acceptor, engine, asyncio.get_running_loop().time() + grace_seconds)
            self._acceptor = None
        self._reserved.release()

    async def _drain(self, acceptor: Acceptor, engine: Drainable, ends_at: float) -> None:
        loop = asyncio.get_running_loop()
        acceptor.discard_syns()
        await asyncio.sleep(min(_ARRIVAL_SECONDS, ends_at - loop.time()))
        acceptor.stop_listening()
        # for the requests of the connections that came last
        await asyncio.sleep(min(_ARRIVAL_SECONDS, ends_at - loop.time()))
        acceptor.end_handshakes()
        for connection in self._connections():
            connection.shutdown()
        if not await _all_answered(acceptor, engine, ends_at):
            await self._refuse_all(acceptor)

    def _protocol(self) -> BoundedProtocol:
        protocol = BoundedProtocol(self._config, self._state, {})
        protocol.limits = self._limits
        if self._acceptor is not None:
            protocol.on_lost = self._acceptor.released
        if self._is_lame_duck:
            protocol.leave()
        return protocol

    def _connections(self) -> list[BoundedProtocol]:
        return [each for each in self._state.connections if isinstance(each, BoundedProtocol)]

    async def _refuse_all(self, acceptor: Acceptor) -> None:
        for connection in self._connections():
            connection.running.stop()
        await _is_set_within(acceptor.none_open, _LAST_SECONDS)
        for connection in self._connections():
            connection.transport.abort()


async def _all_answered(acceptor: Acceptor, engine: Drainable, ends_at: float) -> bool:
    """Waits until no connection is open that the engine works for; returns whether none is open at all."""
    loop = asyncio.get_running_loop()
    write_ends_at = min(loop.time() + _WRITE_SECONDS, ends_at)
    while not await _is_set_within(acceptor.none_open, min(_RECHECK_SECONDS, write_ends_at - loop.time())):
        if loop.time() >= write_ends_at:
            return False
        if engine.in_flight:
            write_ends_at = min(loop.time() + _WRITE_SECONDS, ends_at)
    return True


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
