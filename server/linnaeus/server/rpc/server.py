"""The gRPC server: services, health, reflection and limits, in one place."""

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from linnaeus.server.errors import StartupError
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.interceptors import CallInterceptor
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

CLASSIFIER = v1.DESCRIPTOR.services_by_name["ClassifierService"].full_name
# The empty name is the server as a whole.
_SERVICES = ("", CLASSIFIER)
# Time to write the last answers; streams that never end by themselves, such as health watches, end after it.
_WRITE_SECONDS = 0.5
_LEAST_PING_INTERVAL_MILLISECONDS = 5_000
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class RpcServer:
    """Listens, tells its health, and stops in two steps.

    Life: construct, `start`, `serving`, `stop`.
    """

    def __init__(
        self,
        interceptor: CallInterceptor,
        host: str,
        port: int,
        max_message_bytes: int,
        further_options: Sequence[tuple[str, int]] = (),
    ) -> None:
        options = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.so_reuseport", 0),  # two servers on one port would share its calls by accident
            # Clients find a dead server by pings, ours every 10 s while a call is open. gRPC's own bounds, five minutes
            # and none without calls, would end such a connection as a flood.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _LEAST_PING_INTERVAL_MILLISECONDS),
            ("grpc.keepalive_permit_without_calls", 1),
            *further_options,
        ]
        self._server = grpc.aio.server(interceptors=[interceptor], options=options)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((CLASSIFIER, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self.port = self._listen(host, port)

    async def start(self, servicer: ClassifierServicer) -> None:
        """Takes calls; the health is NOT_SERVING until `serving`."""
        v1_grpc.add_ClassifierServiceServicer_to_server(servicer, self._server)
        await self._tell(_NOT_SERVING)
        await self._server.start()

    async def device(self, name: str, works: bool) -> None:
        """Tells of one device, as the health of the service `device/NAME`."""
        await self._health.set(f"device/{name}", _SERVING if works else _NOT_SERVING)

    async def not_serving(self) -> None:
        """Tells the world that a model has no device left."""
        await self._tell(_NOT_SERVING)

    async def serving(self) -> None:
        """Tells the world that models are ready."""
        await self._tell(_SERVING)

    async def stop(self, in_flight_ended: Awaitable[None], grace_seconds: float) -> None:
        """Tells the world, takes no new calls, and lets those in flight end.

        Clients are told at once to turn elsewhere. Whoever only watches the health holds nothing up.

        Args:
            in_flight_ended: ends once the calls in flight have their answers.
            grace_seconds: how long they may take; then they are cancelled.
        """
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace_seconds))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(in_flight_ended, grace_seconds)
        await self._server.stop(_WRITE_SECONDS)
        await stopping

    def _listen(self, host: str, port: int) -> int:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError:
            raise StartupError(f"gRPC cannot listen on {address}; is another server using the port?") from None

    async def _tell(self, status: int) -> None:
        for service in _SERVICES:
            await self._health.set(service, status)
