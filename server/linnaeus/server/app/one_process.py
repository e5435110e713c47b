"""A server of one process, for notebooks, debuggers and tests: constructs every component, starts and stops them."""

import asyncio
import contextlib
import gc
import logging

from linnaeus.server.app.health import publish_health
from linnaeus.server.app.http import http_server, lame_duck, stop_ports
from linnaeus.server.app.observed_engine import ObservedEngine, observed_engine, start_background
from linnaeus.server.app.require_model import require_a_model
from linnaeus.server.app.services import servicers
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.http.server import HttpServer
from linnaeus.server.observability.metrics_server import MetricsServer
from linnaeus.server.observability.metrics_text import registry_text
from linnaeus.server.observability.probes import Probes
from linnaeus.server.process.signals import stop_on_signals
from linnaeus.server.rpc.connection_age import connection_age_options
from linnaeus.server.rpc.grpc_release import warn_of_grpc_release
from linnaeus.server.rpc.server import RpcServer
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.server_security import ServerSecurity, server_security

logger = logging.getLogger(__name__)

# For a batch that still runs after its calls were cancelled.
_LAST_BATCH_SECONDS = 1.0


async def run_server(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, or until a part that it needs keeps failing; then finishes what is in flight.

    Raises:
        StartupError: if the server cannot start.
        ServerFailed: if a part that it needs kept failing.
    """
    stop = stop_on_signals()  # first, so that a signal that arrives during the start is not lost
    security = server_security(settings)
    for risk in security.risks:
        logger.warning("insecure: %s", risk)
    warn_of_grpc_release()
    loop = asyncio.get_running_loop()
    observed = observed_engine(settings, on_fatal=lambda part: loop.call_soon_threadsafe(stop.set))
    engine, metrics, supervisor, charge = observed.engine, observed.metrics, observed.supervisor, observed.charge
    age_options = connection_age_options(settings.max_connection_age_seconds, settings.max_connection_grace_seconds)
    rpc_server = RpcServer(metrics, security, settings.max_message_bytes, age_options, charge=charge)
    health = rpc_server.health
    probes = Probes(loop, lambda: health.unready_reason)
    metrics_server = None
    if not settings.has_metrics_on_http:
        metrics_server = MetricsServer(
            metrics.registry, probes, settings.metrics_host, settings.metrics_port, supervisor
        )
    served = servicers(engine, settings, observed.release, observed.statistics, health, charge)
    traces, text = observed.has_traces, registry_text(metrics.registry)
    http = http_server(settings, security, served, metrics, charge, lambda: health.unready_reason, text, traces)
    await rpc_server.start(served.grpc_services(traces, bool(settings.token_file)))
    metrics_port = settings.metrics_port if metrics_server is None else metrics_server.port
    ports = _Ports(rpc_server, http, metrics_port, security)
    if http is not None and settings.has_metrics_on_http:
        await http.listen()  # probes and scrapes are answered while the models load, as on a port of their own
    ports.log_loading()
    try:
        if settings.listen_early:
            await ports.listen()
        await _serve_until(stop, observed, rpc_server, http, ports, settings)
    finally:
        await _stop(engine, rpc_server, http, settings.drain_seconds)
        if metrics_server is not None:
            metrics_server.close()
        await observed.close_logs()
        logger.info("stopped", extra={"event": {"event": "stopped"}})
    supervisor.raise_if_ended()


class _Ports:
    """Opens the ports of gRPC and HTTP, and logs what listens where."""

    def __init__(
        self,
        rpc_server: RpcServer,
        http: HttpServer | None,
        metrics_port: int,
        security: ServerSecurity,
    ) -> None:
        self._rpc_server = rpc_server
        self._http = http
        self._address = security.address
        self._further = {"metrics_port": metrics_port, "health_port": rpc_server.health_port}
        self._sentence = f"metrics on port {metrics_port}"
        if http is not None:
            self._further["http_port"] = http.port
            self._sentence = f"HTTP on port {http.port}, {self._sentence}"
        if security.health is not None:
            self._sentence += f", health alone on {_port_or_file(security.health, rpc_server.health_port)}"

    def log_loading(self) -> None:
        """Logs the ports that are open while the models load."""
        event = {"event": "loading", **self._further}
        logger.info("loading the models: %s", self._sentence, extra={"event": event})

    async def listen(self) -> None:
        """Opens the ports of gRPC and HTTP, unless they are open."""
        if self._rpc_server.is_listening:
            return
        await self._rpc_server.listen()
        if self._http is not None:
            await self._http.listen()
        event = {"event": "listening", "port": self._rpc_server.port, **self._further}
        sentence = f"gRPC on {_port_or_file(self._address, self._rpc_server.port)}, {self._sentence}"
        logger.info("listening: %s", sentence, extra={"event": event})


def _port_or_file(address: Address, port: int | None) -> str:
    return str(address) if address.is_socket_file else f"port {port}"


async def _stop(engine: Engine, rpc_server: RpcServer, http: HttpServer | None, grace_seconds: float) -> None:
    """Answers the calls in flight, for `grace_seconds` at most, and ends the engine's threads."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + grace_seconds
    await stop_ports(engine, rpc_server, http, grace_seconds)
    # All calls are answered or cancelled; what may still run are batches whose results nobody waits for.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(ends_at - loop.time(), _LAST_BATCH_SECONDS)):
            await engine.close()


async def _serve_until(
    stop: asyncio.Event,
    observed: ObservedEngine,
    rpc_server: RpcServer,
    http: HttpServer | None,
    ports: _Ports,
    settings: Settings,
) -> None:
    """Loads the models, listens, then serves until `stop` is set.

    If `stop` is set while models load, no lame-duck phase follows: the server has never reported SERVING.
    """
    engine = observed.engine
    loading = asyncio.create_task(engine.load())
    stop_signal = asyncio.create_task(stop.wait())
    await asyncio.wait({loading, stop_signal}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        if settings.model_control != "explicit":
            require_a_model(engine.catalog)
        gc.freeze()  # loaded models are permanent: excludes them from garbage collections while serving
        await ports.listen()
        await publish_health(engine, rpc_server.health)
        logger.info("serving", extra={"event": {"event": "serving"}})
        tasks = start_background(observed, rpc_server.health, settings)
        await stop_signal
        for each in tasks:
            each.cancel()
    logger.info("stopping", extra={"event": {"event": "stopping"}})
    if loading.done():
        await lame_duck(rpc_server, http, settings.lame_duck_seconds)
    loading.cancel()  # the engine finishes the model that is loading and starts no further one
