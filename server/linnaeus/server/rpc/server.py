"""The gRPC server: its services, health, reflection, connection limits, and the steps of its stop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from linnaeus.server.rpc.connection_options import connection_options
from linnaeus.server.rpc.draining import CallDrainer
from linnaeus.server.rpc.health import HealthServicer
from linnaeus.server.rpc.health_port import HealthPort
from linnaeus.server.rpc.interceptor import CallObserver, InterceptedServer
from linnaeus.server.security.listen_address import listen
from linnaeus.server.security.server_security import ServerSecurity

# Time to write the last answers on a busy machine. Calls that would never end, and calls whose request is still being
# received, are cancelled after it; health watches have already ended.
_WRITE_SECONDS = 5.0
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
        options = connection_options(max_message_bytes, security.max_connections)
        self._server = grpc.aio.server(options=[*options, *further_options])
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
        health_pb2_grpc.add_HealthServicer_to_server(self._health, always_open)
        reflection_servicer = reflection.aio.ReflectionServicer(
            (*self._service_names[1:], SERVICE_NAME, reflection.SERVICE_NAME)
        )
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection_servicer, intercepted)  # type: ignore[no-untyped-call]
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
