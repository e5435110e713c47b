"""A server in one of Ray's processes: the engine and the servicers that gRPC has, called by Ray instead of by gRPC."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import grpc

from linnaeus.ray.arguments import replica_settings, with_cores
from linnaeus.ray.load_meter import LoadMeter
from linnaeus.ray.methods import served_methods
from linnaeus.ray.metrics_port import metrics_server
from linnaeus.ray.outcome import CallAborted, Outcome, failure
from linnaeus.ray.replica_context import OneMessage, ReplicaContext
from linnaeus.server.app.health import publish_health
from linnaeus.server.app.observed_engine import observed_engine, start_background
from linnaeus.server.app.require_model import require_a_model
from linnaeus.server.app.services import servicers
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.observability.logs import configure_logs
from linnaeus.server.observability.probes import Probes
from linnaeus.server.rpc.health import add_health
from linnaeus.server.rpc.interceptor import InterceptedServer
from linnaeus.server.rpc.published_health import PublishedHealth
from linnaeus.server.security.server_security import ServerSecurity, server_security

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 5.0


async def start_replica(
    arguments: Mapping[str, Any], environment: Mapping[str, str], cores: float, gpus: float
) -> "ReplicaServer":
    """Returns a server whose models are loaded and warm.

    Args:
        arguments: settings by their names; see `linnaeus.ray.app`.
        environment: the environment, with further settings.
        cores: the number of cores that are reserved for the replica.
        gpus: the number of GPUs.

    Raises:
        StartupError: if a setting cannot be used, or no model can be served.
    """
    settings = with_cores(replica_settings(arguments, environment), cores, gpus)
    configure_logs(settings.log_format, settings.log_level)
    security = server_security(settings)
    for risk in security.risks:
        logger.warning("insecure: %s", risk)
    server = ReplicaServer(settings, security)
    try:
        await server.start()
    except StartupError:
        await server.close()
        raise
    return server


class ReplicaServer:
    """The server of one replica. Belongs to the event loop's thread; any thread may read `unready_reason`.

    Lifecycle: construct, `start`, any number of calls, `close`.

    Args:
        settings: of one process without a port for callers.
        security: tokens and limits.

    Attributes:
        load_meter: how busy it is.
        health: the health that it publishes.
        metrics_port: the port of its metrics and probes.
    """

    def __init__(self, settings: Settings, security: ServerSecurity) -> None:
        self._settings = settings
        self._failed_part = ""
        self.health = PublishedHealth()
        self.load_meter = LoadMeter(lambda: sum(self._observed.engine.core.device_workers.values()))
        self._observed = observed = observed_engine(settings, self.end, self.load_meter)
        served = servicers(
            observed.engine, settings, observed.release, observed.statistics, self.health, observed.charge
        )
        self._services = served.grpc_services(observed.has_traces, bool(settings.token_file))
        self._handlers = self._intercepted_handlers(security)
        probes = Probes(asyncio.get_running_loop(), lambda: self.unready_reason)
        self._metrics_server = metrics_server(settings, observed.metrics.registry, probes, observed.supervisor)
        self.metrics_port = self._metrics_server.port
        self._background: list[asyncio.Task[None]] = []

    @property
    def unready_reason(self) -> str:
        """Why calls should not come here, in a sentence; empty if they should."""
        return self._failed_part or self.health.unready_reason

    async def start(self) -> None:
        """Loads the models.

        Raises:
            StartupError: if no model can be served.
        """
        engine = self._observed.engine
        event = {"event": "loading", "metrics_port": self.metrics_port}
        logger.info("loading the models: metrics on port %s", self.metrics_port, extra={"event": event})
        await self.health.add_services([each.name for each in self._services])
        await engine.load()
        if self._settings.model_control != "explicit":
            require_a_model(engine.catalog)
        gc.freeze()  # loaded models are permanent: excludes them from garbage collections while serving
        await publish_health(engine, self.health)
        self._background = start_background(self._observed, self.health, self._settings)
        logger.info("serving", extra={"event": {"event": "serving"}})

    async def unary(self, name: str, request: bytes, grpc_context: Any) -> Outcome:
        """Answers a call with one message."""
        context = ReplicaContext(grpc_context, OneMessage(request), self._settings.max_message_bytes)
        del request  # would be kept until the answer
        handler = self._handlers[name]
        try:
            answer = await handler.stream_unary(None, context)
        except CallAborted as aborted:
            return failure(aborted.status)
        return Outcome(handler.response_serializer(answer))

    async def stream(self, name: str, requests: Any, grpc_context: Any) -> AsyncIterator[Outcome]:
        """Answers a stream of messages, which the method reads and writes as it pleases."""
        context = ReplicaContext(grpc_context, requests, self._settings.max_message_bytes)
        handler = self._handlers[name]
        serving = asyncio.create_task(_serve_stream(handler, context))
        try:
            while not isinstance(answer := await context.answers.get(), _StreamEnd):
                yield Outcome(handler.response_serializer(answer))
            if isinstance(answer.error, CallAborted):
                yield failure(answer.error.status)
            elif answer.error is not None:
                raise answer.error
        finally:
            serving.cancel()

    async def close(self) -> None:
        """Ends the engine; called when the last call has been answered."""
        await self.health.set_stopping()
        for task in self._background:
            task.cancel()
        async with asyncio.timeout(_CLOSE_SECONDS):
            await self._observed.engine.close()
        self._metrics_server.close()
        await self._observed.close_logs()

    def _intercepted_handlers(self, security: ServerSecurity) -> dict[str, Any]:
        """Returns the methods' handlers, with the checks, the counting and the statuses that those of gRPC have."""
        observed = self._observed
        added: Any = _AddedServices()
        intercepted: Any = InterceptedServer(
            added, observed.metrics, security.authorizer, None, security.byte_budget, False, observed.charge
        )
        for service in self._services:
            service.add(intercepted)
        intercepted_health: Any = InterceptedServer(added, observed.metrics)
        add_health(self.health.servicer, intercepted_health)
        return {each.name: added.handler(each.path) for each in served_methods()}

    def end(self, part: str) -> None:
        """Has Ray replace this replica, since a part keeps failing. Any thread may call it."""
        self._failed_part = f"the part {part.replace('_', ' ')} keeps failing; the log has the causes"


class _AddedServices:
    """Stands in for a gRPC server that intercepted services are added to."""

    def __init__(self) -> None:
        self._added: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Adds methods."""
        self._added += handlers

    def handler(self, path: str) -> Any:
        """Returns the handler of a method."""
        details: Any = SimpleNamespace(method=path, invocation_metadata=())
        found = (each.service(details) for each in self._added)
        return next(handler for handler in found if handler is not None)


@dataclass(frozen=True, slots=True)
class _StreamEnd:
    """The end of a stream's answers.

    Attributes:
        error: what ended it early; None for nothing.
    """

    error: Exception | None


async def _serve_stream(handler: Any, context: ReplicaContext) -> None:
    """Runs a method that writes its answers, and tells its end."""
    error = None
    try:
        await handler.stream_stream(None, context)
    except Exception as raised:  # the other end of `answers` raises it
        error = raised
    await context.answers.put(_StreamEnd(error))
