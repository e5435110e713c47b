"""A separate plaintext port with only the health service, for probes without a certificate and a token."""

from typing import Any

import grpc

from linnaeus.server.rpc.connection_options import connection_options
from linnaeus.server.rpc.health import HealthServicer, add_health
from linnaeus.server.rpc.interceptor import CallObserver, InterceptedServer
from linnaeus.server.security.byte_budget import ByteBudget
from linnaeus.server.security.listen_address import Address, listen

# A health request is a single service name.
_MAX_REQUEST_BYTES = 4096
_MAX_BYTES = 1 << 20
# Only a few probes connect to this port.
_MAX_CONNECTIONS = 256


class HealthPort:
    """A gRPC server with only the health service, which listens until `stop`.

    Lifecycle: construct, `start`, `stop`.

    Args:
        address: the address to listen on.
        servicer: the health servicer of the main server.
        observer: counts the calls.
        shares_port: whether other servers may listen on the port, too.

    Attributes:
        port: the port that it listens on.

    Raises:
        StartupError: if the port cannot be opened.
    """

    def __init__(
        self, address: Address, servicer: HealthServicer, observer: CallObserver, shares_port: bool = False
    ) -> None:
        self._server = grpc.aio.server(options=connection_options(_MAX_REQUEST_BYTES, _MAX_CONNECTIONS, shares_port))
        budget = ByteBudget(_MAX_REQUEST_BYTES, _MAX_BYTES, _MAX_BYTES)
        intercepted: Any = InterceptedServer(self._server, observer, budget=budget)
        add_health(servicer, intercepted)
        self.port = listen(self._server, address)

    async def start(self) -> None:
        """Starts to answer probes."""
        await self._server.start()

    async def stop(self) -> None:
        """Ends all calls, watches included, and closes the port."""
        await self._server.stop(None)
