"""A port that tells the health and nothing else, in the clear, for probes that carry no certificate and no token."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from linnaeus.server.rpc.interceptor import CallObserver, InterceptedServer
from linnaeus.server.security.listen_address import Address, listen

# What a probe asks fits into a line.
_LARGEST_REQUEST_BYTES = 4096
# Probes come from a few places; nobody else has anything to ask here.
_MOST_CONNECTIONS = 256


class HealthPort:
    """Tells what the given health servicer knows, to the end of the server's life.

    Life: construct, `start`, `stop`.

    Attributes:
        port: where it listens.

    Raises:
        StartupError: the port cannot be opened.
    """

    def __init__(self, address: Address, servicer: health_pb2_grpc.HealthServicer, observer: CallObserver) -> None:
        options = [
            ("grpc.max_receive_message_length", _LARGEST_REQUEST_BYTES),
            ("grpc.max_allowed_incoming_connections", _MOST_CONNECTIONS),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.aio.server(options=options)
        watched: Any = InterceptedServer(self._server, observer)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, watched)
        self.port = listen(self._server, address)

    async def start(self) -> None:
        """Takes probes."""
        await self._server.start()

    async def stop(self) -> None:
        """Ends all probes, watches included."""
        await self._server.stop(None)
