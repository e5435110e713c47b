"""The gRPC server: services, health, reflection and limits, in one place."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from linnaeus.server.errors import StartupError
from linnaeus.server.rpc.calls import CallObserver, WatchedServer

# Time to write the last answers; streams that never end by themselves, such as health watches, end after it.
_WRITE_SECONDS = 0.5
_LEAST_PING_INTERVAL_MILLISECONDS = 5_000
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class Service:
    """A service to be served.

    Attributes:
        name: its full name, for health and reflection.
        add: adds it to a server, as the generated `add_…_to_server` does.
    """

    name: str
    add: Callable[[Any], None]


class RpcServer:
    """Listens, tells its health, and stops in two steps.

    Life: construct, `start`, `serving`, `stop`.

    Attributes:
        port: that it listens on.
        is_serving: the health, as it was last told.
    """

    def __init__(self, observer: CallObserver, host: str, port: int, max_message_bytes: int) -> None:
        options = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.so_reuseport", 0),  # two servers on one port would share its calls by accident
            # Clients find a dead server by pings, ours every 10 s while a call is open. gRPC's own bounds, five minutes
            # and none without calls, would end such a connection as a flood.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _LEAST_PING_INTERVAL_MILLISECONDS),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        self._server = grpc.aio.server(options=options)
        self._observer = observer
        self._health = health.aio.HealthServicer()
        self._told_of = [""]  # the server as a whole
        self.is_serving = False
        self.port = self._listen(host, port)

    async def start(self, services: Sequence[Service]) -> None:
        """Takes calls of these services, the most called first; the health is NOT_SERVING until `serving`."""
        watched: Any = WatchedServer(self._server, self._observer)
        for service in services:
            service.add(watched)
        self._told_of += [service.name for service in services]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, watched)
        reflected = reflection.aio.ReflectionServicer(
            (*self._told_of[1:], health.SERVICE_NAME, reflection.SERVICE_NAME)
        )
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, watched)  # type: ignore[no-untyped-call]
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
        self.is_serving = False
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
        self.is_serving = status == _SERVING
        for service in self._told_of:
            await self._health.set(service, status)
