"""The gRPC server: its services, health, reflection, connection limits, and the steps of its stop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from linnaeus.server.rpc.draining import CallDrainer
from linnaeus.server.rpc.health import HealthServicer, add_health
from linnaeus.server.rpc.health_port import HealthPort
from linnaeus.server.rpc.interceptor import CallObserver, InterceptedServer
from linnaeus.server.rpc.reflection import add_reflection
from linnaeus.server.security.listen_address import listen
from linnaeus.server.security.server_security import ServerSecurity

# Time to write the last answers on a busy machine. Calls that would never end, and calls whose request is still being
# received, are cancelled after it; health watches have already ended.
_WRITE_SECONDS = 5.0
_MIN_PING_INTERVAL_MILLISECONDS = 5_000
# A connection whose handshake takes longer is closed; gRPC's default is two minutes.
_HANDSHAKE_MILLISECONDS = 20_000
# Concurrent calls of one connection, above any queue or load test; a client holds further calls back.
_MAX_CONCURRENT_STREAMS = 4096
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class Service:
    """A service to add to the server.

    Attributes:
        name: the full name, for health and reflection.
        add: adds the service to a server, as the generated `add_…_to_server` does.
    """

    name: str
    add: Callable[[Any], None]


class RpcServer:
    """The gRPC server of the application.

    Lifecycle: construct (opens the ports), `start`, `set_serving`, `lame_duck`, `stop`. Belongs to the event loop's
    thread.

    Args:
        observer: notified of every call.
        security: the addresses and the authorization.
        max_message_bytes: the maximum size of a request message.
        further_options: further options of the gRPC server.

    Attributes:
        port: the port of all services.
        health_port: the port of the separate health server; None if there is none.
        is_serving: whether the last reported health is SERVING.

    Raises:
        StartupError: if a port cannot be opened.
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
            ("grpc.so_reuseport", 0),  # otherwise two servers could accidentally share a port's calls
            # Clients detect a dead server by keepalive pings, linnaeus.client every 10 s during calls. With gRPC's
            # defaults (five minutes apart, none without calls) the server would close their connections as ping floods.
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MILLISECONDS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MILLISECONDS),
            ("grpc.max_concurrent_streams", _MAX_CONCURRENT_STREAMS),
            ("grpc.max_allowed_incoming_connections", security.max_connections),
            *further_options,
        ]
        self._server = grpc.aio.server(options=options)
        self._observer = observer
        self._drainer = CallDrainer()
        self._security = security
        self._health = HealthServicer()
        self._service_names = [""]  # "" is the health of the whole server
        self.is_serving = False
        self.port = listen(self._server, security.address, security.certificates)
        self._health_port = None if security.health is None else HealthPort(security.health, self._health, observer)
        self.health_port = None if self._health_port is None else self._health_port.port

    async def start(self, services: Sequence[Service]) -> None:
        """Starts to accept calls; the health is NOT_SERVING until `set_serving`.

        Args:
            services: the services, most frequently called first.
        """
        intercepted: Any = InterceptedServer(self._server, self._observer, self._security.authorizer, self._drainer)
        for service in services:
            service.add(intercepted)
        self._service_names += [service.name for service in services]
        always_open: Any = InterceptedServer(self._server, self._observer)
        add_health(self._health, always_open)
        add_reflection(self._service_names[1:], intercepted)
        await self._set_status(_NOT_SERVING)
        await self._server.start()
        if self._health_port is not None:
            await self._health_port.start()

    async def set_device_status(self, name: str, is_working: bool) -> None:
        """Publishes the health of a device as that of the service `device/NAME`."""
        await self._health.set(f"device/{name}", _SERVING if is_working else _NOT_SERVING)

    async def set_not_serving(self) -> None:
        """Publishes NOT_SERVING, because a model has no working device."""
        await self._set_status(_NOT_SERVING)

    async def set_serving(self) -> None:
        """Publishes SERVING: models are ready."""
        await self._set_status(_SERVING)

    async def lame_duck(self, seconds: float) -> None:
        """Publishes NOT_SERVING for good, and keeps answering new calls for `seconds`."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(seconds)

    async def stop(self, in_flight_ended: Awaitable[None], grace_seconds: float) -> None:
        """Publishes NOT_SERVING, accepts no new calls, waits for the calls in flight, and closes the ports.

        A call that arrives during the stop is refused with UNAVAILABLE once its connection has received GOAWAY; see
        `draining`. Health watches do not delay the stop.

        Args:
            in_flight_ended: completes once the calls in flight have their answers.
            grace_seconds: the time after which the calls in flight are cancelled.
        """
        self.is_serving = False
        await self._health.enter_graceful_shutdown()
        self._drainer.hold_calls()
        ended = asyncio.ensure_future(in_flight_ended)
        await self._drainer.wait_quiet(ended)
        stopping = asyncio.create_task(self._server.stop(grace_seconds))
        await asyncio.sleep(0)  # runs the task up to the point where it has sent GOAWAY
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
    """Cancels a task, and raises its error if it has failed."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
