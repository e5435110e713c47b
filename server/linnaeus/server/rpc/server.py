"""The gRPC server: its services, health, reflection, connection limits, and the steps of its stop."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from linnaeus.server.rpc.connection_options import connection_options
from linnaeus.server.rpc.draining import CallDrainer
from linnaeus.server.rpc.health import add_health
from linnaeus.server.rpc.health_port import HealthPort
from linnaeus.server.rpc.interceptor import CallObserver, InterceptedServer
from linnaeus.server.rpc.published_health import PublishedHealth
from linnaeus.server.rpc.reflection import add_reflection
from linnaeus.server.security.byte_budget import ByteBudget
from linnaeus.server.security.charging import Charge, no_charge
from linnaeus.server.security.listen_address import listen
from linnaeus.server.security.reserved_port import ReservedPort
from linnaeus.server.security.server_security import ServerSecurity

# Time to write the last answers on a busy machine, and to receive the rest of a request, once no request is in the
# engine. Calls that would never end are cancelled after it, such as those of callers that do not read their answers.
_WRITE_SECONDS = 5.0
_RECHECK_SECONDS = 0.05
# gRPC's own grace must not end: it would then cancel the calls of a server that may just have been destroyed, which
# ends the process (SIGSEGV). So a second `stop`, without a grace, cancels what is left, while the first surely waits.
_ENDLESS_SECONDS = 1e6
# Messages of health checks that one caller may send at once, and how long they may take while others wait.
_HEALTH_MESSAGES = 2
_HEALTH_GRACE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Service:
    """A service to add to the server.

    Attributes:
        name: the full name, for health and reflection.
        add: adds the service to a server, as the generated `add_…_to_server` does.
    """

    name: str
    add: Callable[[Any], None]


class Drainable(Protocol):
    """What answers the calls."""

    @property
    def in_flight(self) -> int:
        """Number of requests admitted and not yet ended."""

    def drain(self) -> None:
        """Ends streams that would never end by themselves; requests are still admitted."""


class RpcServer:
    """The gRPC server of the application.

    Lifecycle: construct (reserves the port), `start` (the health port answers), `listen` (callers can connect),
    `health.set_serving`, `lame_duck`, `stop`. Belongs to the event loop's thread.

    Args:
        observer: notified of every call.
        security: the addresses and the authorization.
        max_message_bytes: the maximum size of a request message.
        further_options: further options of the gRPC server.
        shares_port: whether other servers may listen on the port, too; the kernel deals connections out among them.
        charge: charges an image for every call but health checks.

    Attributes:
        port: the port of all services.
        health_port: the port of the separate health server; None if there is none.
        health: the health that it publishes.
        is_listening: whether callers can connect to the port.

    Raises:
        StartupError: if a port cannot be opened.
    """

    def __init__(
        self,
        observer: CallObserver,
        security: ServerSecurity,
        max_message_bytes: int,
        further_options: Sequence[tuple[str, int]] = (),
        shares_port: bool = False,
        charge: Charge = no_charge,
    ) -> None:
        self._reserved = ReservedPort(
            security.address, is_shared=shares_port
        )  # first: a gRPC server must be stopped, also one that never ran
        options = connection_options(max_message_bytes, security.max_connections, shares_port)
        self._server = grpc.aio.server(options=[*options, *further_options])
        self._observer = observer
        self._drainer = CallDrainer()
        # Health checks, which need no token, must not wait for other calls. Their messages are tiny and come at once.
        share = _HEALTH_MESSAGES * max_message_bytes
        self._health_budget = ByteBudget(max_message_bytes, 2 * share, share, _HEALTH_GRACE_SECONDS)
        self._security = security
        self._charge = charge
        self.health = PublishedHealth()
        self.is_listening = False
        self.port = self._reserved.address.port
        servicer, probed = self.health.servicer, security.health
        self._health_port = None if probed is None else HealthPort(probed, servicer, observer, shares_port)
        self.health_port = None if self._health_port is None else self._health_port.port

    async def start(self, services: Sequence[Service]) -> None:
        """Adds the services, and starts the health port; the health is NOT_SERVING until told otherwise.

        Args:
            services: the services, most frequently called first.
        """
        security = self._security
        has_certificates = security.certificates is not None
        intercepted: Any = InterceptedServer(
            self._server,
            self._observer,
            security.authorizer,
            self._drainer,
            security.byte_budget,
            has_certificates,
            self._charge,
        )
        for service in services:
            service.add(intercepted)
        names = [service.name for service in services]
        always_open: Any = InterceptedServer(self._server, self._observer, budget=self._health_budget)
        not_drained: Any = InterceptedServer(
            self._server,
            self._observer,
            security.authorizer,
            None,
            self._health_budget,
            has_certificates,
            self._charge,
        )
        add_health(self.health.servicer, always_open)
        add_reflection(names, not_drained)
        await self.health.add_services(names)
        if self._health_port is not None:
            await self._health_port.start()

    async def listen(self) -> None:
        """Opens the port, and starts to accept calls.

        Raises:
            StartupError: if the port cannot be opened.
        """
        self.port = listen(self._server, self._reserved.address, self._security.certificates)
        self._reserved.release()
        await self._server.start()
        self.is_listening = True

    async def lame_duck(self, seconds: float) -> None:
        """Publishes NOT_SERVING for good, and keeps answering new calls for `seconds`."""
        await self.health.set_stopping()
        await asyncio.sleep(seconds)

    async def stop(self, engine: Drainable, grace_seconds: float) -> None:
        """Publishes NOT_SERVING, answers the calls that have arrived, and closes the ports.

        A caller that waits for its answers learns before its last one that the server stops, and sends no further call;
        see `draining`. Health watches do not delay the stop.

        Args:
            engine: is drained once no further call can arrive.
            grace_seconds: the time after which the calls in flight are cancelled.
        """
        await self.health.set_stopping()
        if self.is_listening:
            await self._drain(engine, asyncio.get_running_loop().time() + grace_seconds)
        self.health.servicer.end_watches()
        self._reserved.release()
        if self._health_port is not None:
            await self._health_port.stop()

    async def _drain(self, engine: Drainable, ends_at: float) -> None:
        await self._drainer.settle()
        stopping = asyncio.create_task(self._server.stop(_ENDLESS_SECONDS))
        await asyncio.sleep(0)  # runs the task up to the point where it has sent GOAWAY
        self._drainer.release()
        engine.drain()
        self.health.servicer.end_watches()
        write_ends_at = await self._wait_answered(engine, stopping, ends_at)
        await asyncio.wait({stopping}, timeout=_seconds_until(write_ends_at))
        if not stopping.done():  # without a step of the loop in between: see `_ENDLESS_SECONDS`
            await self._server.stop(None)
        await stopping

    async def _wait_answered(self, engine: Drainable, stopping: "asyncio.Task[None]", ends_at: float) -> float:
        """Waits until no call is in flight that the engine works for; returns when the last answers must be written."""
        loop = asyncio.get_running_loop()
        ended = asyncio.create_task(self._drainer.wait_ended())
        write_ends_at = min(loop.time() + _WRITE_SECONDS, ends_at)
        while not (ended.done() or stopping.done()) and loop.time() < write_ends_at:
            await asyncio.wait({ended, stopping}, timeout=_RECHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if engine.in_flight or ended.done():
                write_ends_at = min(loop.time() + _WRITE_SECONDS, ends_at)
        ended.cancel()
        return write_ends_at


def _seconds_until(ends_at: float) -> float:
    return max(ends_at - asyncio.get_running_loop().time(), 0.0)
