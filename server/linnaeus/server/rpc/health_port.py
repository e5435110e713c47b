"""A separate plaintext port with only the health service, for probes without a certificate and a token."""

from typing import Any

import grpc

from linnaeus.server.rpc.health import HealthServicer, add_health
from linnaeus.server.rpc.interceptor import CallObserver, InterceptedServer
from linnaeus.server.security.listen_address import Address, listen

# A health request is a single service name.
_MAX_REQUEST_BYTES = 4096
# Only a few probes connect to this port.
_MAX_CONNECTIONS = 256


class HealthPort:
    """A gRPC server with only the health service, which listens until `stop`.

    Lifecycle: construct, `start`, `stop`.

    Args:
        address: the address to listen on.
        servicer: the health servicer of the main server.
        observer: counts the calls.

    Attributes:
        port: the port that it listens on.

    Raises:
        StartupError: if the port cannot be opened.
    """

    def __init__(self, address: Address, servicer: HealthServicer, observer: CallObserver) -> None:
        options = [
            ("grpc.max_receive_message_length", _MAX_REQUEST_BYTES),
            ("grpc.max_allowed_incoming_connections", _MAX_CONNECTIONS),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.aio.server(options=options)
        intercepted: Any = InterceptedServer(self._server, observer)
        add_health(servicer, intercepted)
        self.port = listen(self._server, address)

    async def start(self) -> None:
        """Starts to answer probes."""
        await self._server.start()

    async def stop(self) -> None:
        """Ends all calls, watches included, and closes the port."""
        await self._server.stop(None)
