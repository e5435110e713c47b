"""The HTTP server: its socket, TLS, and the steps of its stop."""

import asyncio
import logging
import ssl

import uvicorn
from starlette.types import ASGIApp

from linnaeus.server.http.connection import BoundedProtocol
from linnaeus.server.security.listen_address import Address, cannot_listen
from linnaeus.server.security.reserved_port import ReservedPort

_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048


class HttpServer:
    """An HTTP server of an ASGI application.

    Lifecycle: construct (reserves the port), `listen` (callers can connect), `stop`. Belongs to the event loop's
    thread.

    Args:
        application: answers the requests.
        address: where to listen.
        max_connections: the maximum number of connections; further ones are closed at once.
        tls: for HTTPS; None for HTTP.
        shares_port: whether other servers may listen on the port, too; the kernel deals connections out among them.

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
        tls: ssl.SSLContext | None = None,
        shares_port: bool = False,
    ) -> None:
        self._reserved = ReservedPort(address, "HTTP", is_shared=shares_port)
        self.port = self._reserved.address.port
        protocol = type("Connection", (BoundedProtocol,), {"max_connections": max_connections})
        config = uvicorn.Config(
            application,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            backlog=_BACKLOG,
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
        config.load()
        # What a sender does wrong is answered, and would fill the log: uvicorn warns of each request that is no HTTP.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._ticking: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Starts to accept connections.

        Raises:
            StartupError: if the port cannot be opened.
        """
        if self._ticking is not None:
            return
        try:
            listener = self._reserved.listening_socket(_BACKLOG)
        except OSError as error:
            raise cannot_listen("HTTP", self._reserved.address, error) from None
        await self._server.startup(sockets=[listener])
        self._ticking = asyncio.create_task(self._server.main_loop())

    async def stop(self, grace_seconds: float) -> None:
        """Accepts no further connection, closes those that idle, and answers what has arrived.

        Args:
            grace_seconds: the time after which the requests in flight are cancelled.
        """
        if self._ticking is not None:
            self._server.should_exit = True
            self._server.config.timeout_graceful_shutdown = max(round(grace_seconds), 1)
            await self._ticking
            await self._server.shutdown()
            self._ticking = None
        self._reserved.release()
