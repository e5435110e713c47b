"""The gRPC server: services, health, reflection and limits, in one place."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from linnaeus.server.rpc.draining import CallDrainer
from linnaeus.server.rpc.health import HealthServicer
from linnaeus.server.rpc.health_port import HealthPort
from linnaeus.server.rpc.interceptor import CallObserver, InterceptedServer
from linnaeus.server.security.listen_address import listen
from linnaeus.server.security.server_security import ServerSecurity

# Time to write the last answers, on a machine that has much else to do; calls that never end by themselves, and those
# whose message is still on its way, end after it. Watches of the health do not take it.
_WRITE_SECONDS = 5.0
_LEAST_PING_INTERVAL_MILLISECONDS = 5_000
# A connection that has not said by then how it wants to speak is closed; gRPC's own bound is two minutes.
_HANDSHAKE_MILLISECONDS = 20_000
# One connection's calls at once; a client keeps further ones back. More than a queue or a load test ever holds.
_MOST_STREAMS = 4096
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
    """Listens, tells its health, and stops in steps.

    Life: construct, `start`, `set_serving`, `lame_duck`, `stop`.

    Attributes:
        port: where gRPC listens.
        health_port: where only the health is told; None for nowhere.
        is_serving: the health, as it was last told.
    """

    def __init__(
        self,
        observer: CallObserver,
        security: ServerSecurity,
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
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MILLISECONDS),
            ("grpc.max_concurrent_streams", _MOST_STREAMS),
            ("grpc.max_allowed_incoming_connections", security.max_connections),
            *further_options,
        ]
        self._server = grpc.aio.server(options=options)
        self._observer = observer
        self._drainer = CallDrainer()
        self._security = security
        self._health = HealthServicer()
        self._service_names = [""]  # the server as a whole
        self.is_serving = False
        self.port = listen(self._server, security.address, security.certificates)
        self._health_port = None if security.health is None else HealthPort(security.health, self._health, observer)
        self.health_port = None if self._health_port is None else self._health_port.port

    async def start(self, services: Sequence[Service]) -> None:
        """Takes calls of these services, the most called first; the health is NOT_SERVING until `set_serving`."""
        watched: Any = InterceptedServer(self._server, self._observer, self._security.authorizer, self._drainer)
        for service in services:
            service.add(watched)
        self._service_names += [service.name for service in services]
        undisturbed: Any = InterceptedServer(self._server, self._observer)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, undisturbed)
        reflected = reflection.aio.ReflectionServicer((*self._service_names[1:], SERVICE_NAME, reflection.SERVICE_NAME))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, watched)  # type: ignore[no-untyped-call]
        await self._set_status(_NOT_SERVING)
        await self._server.start()
        if self._health_port is not None:
            await self._health_port.start()

    async def set_device_status(self, name: str, works: bool) -> None:
        """Tells of one device, as the health of the service `device/NAME`."""
        await self._health.set(f"device/{name}", _SERVING if works else _NOT_SERVING)

    async def set_not_serving(self) -> None:
        """Tells the world that a model has no device left."""
        await self._set_status(_NOT_SERVING)

    async def set_serving(self) -> None:
        """Tells the world that models are ready."""
        await self._set_status(_SERVING)

    async def lame_duck(self, seconds: float) -> None:
        """Tells the world to turn elsewhere, and answers whoever still comes for so long."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(seconds)

    async def stop(self, in_flight_ended: Awaitable[None], grace_seconds: float) -> None:
        """Tells the world, takes no new calls, and lets those in flight end.

        A call that comes too late is refused with UNAVAILABLE once its connection has been told that the server stops;
        see `draining`. Whoever only watches the health holds nothing up.

        Args:
            in_flight_ended: ends once the calls in flight have their answers.
            grace_seconds: how long they may take; then they are cancelled.
        """
        self.is_serving = False
        await self._health.enter_graceful_shutdown()
        self._drainer.hold_calls()
        ended = asyncio.ensure_future(in_flight_ended)
        await self._drainer.wait_quiet(ended)
        stopping = asyncio.create_task(self._server.stop(grace_seconds))
        await asyncio.sleep(0)  # the task has told the connections
        self._drainer.release()
        await asyncio.wait({ended}, timeout=grace_seconds)
        self._health.end_watches()
        await self._server.stop(_WRITE_SECONDS)
        await stopping
        if self._health_port is not None:
            await self._health_port.stop()
        await _cancel(ended)

    async def _set_status(self, status: int) -> None:
        self.is_serving = status == _SERVING
        for service in self._service_names:
            await self._health.set(service, status)


async def _cancel(task: "asyncio.Future[None]") -> None:
    """Ends what has not ended, and hears what it has to say."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
