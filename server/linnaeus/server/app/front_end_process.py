"""The process of a front end: gRPC, security and decoding; the core is in another process."""

import asyncio
import contextlib
import gc
import itertools
import time
from functools import partial
from importlib.metadata import version

from linnaeus.server.app.asked_metrics import AskedMetrics
from linnaeus.server.app.control import Control
from linnaeus.server.app.front_end_readiness import FrontEndReadiness
from linnaeus.server.app.health import publish_health
from linnaeus.server.app.http import http_server, lame_duck, stop_ports
from linnaeus.server.app.services import servicers
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.http.server import HttpServer
from linnaeus.server.link.control_messages import (
    LAST,
    AllMetrics,
    Connect,
    EngineState,
    Health,
    Listening,
    MetricsWanted,
    Prepared,
    Scrape,
    Snapshot,
    ToChild,
)
from linnaeus.server.link.remote_core import RemoteCore
from linnaeus.server.model_store.catalog import Catalog
from linnaeus.server.observability.merged_metrics import snapshot
from linnaeus.server.observability.metrics import Metrics
from linnaeus.server.observability.telemetry import Telemetry
from linnaeus.server.process.interpreter import configure_interpreter
from linnaeus.server.process.signals import stop_on_signals
from linnaeus.server.process.supervised_task import keep_running
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.rpc.connection_age import connection_age_options
from linnaeus.server.rpc.kserve.statistics import RemoteStatistics
from linnaeus.server.rpc.server import RpcServer
from linnaeus.server.security.charging import charging
from linnaeus.server.security.server_security import server_security

# The numbers of requests: those of a front end do not meet those of another one, nor of its predecessor.
_NUMBERS_OF_ONE = 1 << 32


async def run_front_end(settings: Settings, number: int, control: Control) -> None:
    """Serves callers until SIGTERM, then finishes what is in flight.

    Args:
        settings: the server's settings.
        number: of this front end, different from those of all that were started before.
        control: tells where the engine is, and is told how this front end fares.

    Raises:
        StartupError: if the port cannot be opened.
        ServerFailed: if a part that the front end needs kept failing.
    """
    stop = stop_on_signals()
    configure_interpreter()
    security = server_security(settings)
    metrics, release = Metrics(version("linnaeus")), version("linnaeus")
    loop = asyncio.get_running_loop()
    supervisor = Supervisor(metrics.thread_failed, on_fatal=lambda part: loop.call_soon_threadsafe(stop.set))
    supervisor.watch_process(loop)
    telemetry = Telemetry(settings, release, supervisor)
    catalog = Catalog(settings.default_model, settings.wanted_models)
    core = RemoteCore(catalog, time.monotonic, supervisor, bool(settings.trace), telemetry.record_handler)

    numbers = itertools.count(number * _NUMBERS_OF_ONE + 1)
    engine = Engine(settings, core, core, time.monotonic, core.event_log, telemetry.record_handler, supervisor, numbers)
    charge = charging(settings.rate_limit, core.charge)
    age_options = connection_age_options(settings.max_connection_age_seconds, settings.max_connection_grace_seconds)
    rpc_server = RpcServer(metrics, security, settings.max_message_bytes, age_options, True, charge)
    served = servicers(engine, settings, release, RemoteStatistics(core.count), rpc_server.health, charge)
    traces = telemetry.record_handler is not None
    readiness = FrontEndReadiness(lambda: rpc_server.health.unready_reason)
    all_metrics = AskedMetrics(lambda: control.send(MetricsWanted()))
    http = http_server(
        settings, security, served, metrics, charge, readiness.unready_reason, all_metrics, traces, shares_port=True
    )
    control.receive(partial(_received, control, metrics, core, all_metrics, readiness))
    await rpc_server.start(served.grpc_services(traces, bool(settings.token_file)))
    if http is not None and settings.has_metrics_on_http:
        await http.listen()  # probes and scrapes are answered while the models load, as on a port of their own
    control.send(Prepared())
    try:
        if settings.listen_early:
            await _listen(rpc_server, http, control)
        await _serve_until(stop, engine, rpc_server, http, settings, control, supervisor)
    finally:
        await stop_ports(engine, rpc_server, http, settings.drain_seconds)
        await engine.close()
        await telemetry.close()
        control.send(Snapshot(LAST, snapshot(metrics.registry)))
        control.flush()
    supervisor.raise_if_ended()


def _received(
    control: Control,
    metrics: Metrics,
    core: RemoteCore,
    all_metrics: AskedMetrics,
    readiness: FrontEndReadiness,
    message: ToChild,
) -> None:
    """Passes on what the supervisor has sent."""
    match message:
        case Scrape(call=call):
            control.send(Snapshot(call, snapshot(metrics.registry)))
        case Connect(link_path=link_path):
            core.connect_soon(link_path)
        case AllMetrics(text=text):
            all_metrics.answered(text)
        case EngineState(unready_reason=reason):
            readiness.engine_reason = reason


async def _serve_until(
    stop: asyncio.Event,
    engine: Engine,
    rpc_server: RpcServer,
    http: HttpServer | None,
    settings: Settings,
    control: Control,
    supervisor: Supervisor,
) -> None:
    """Waits for the models, listens, then serves until `stop` is set."""
    loading, stop_signal = asyncio.create_task(engine.load()), asyncio.create_task(stop.wait())
    await asyncio.wait({loading, stop_signal}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        gc.freeze()
        await _listen(rpc_server, http, control)
        publishing = asyncio.create_task(
            keep_running("health", lambda: _publish_changes(engine, rpc_server, control), supervisor)
        )
        await stop_signal
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing
        await lame_duck(rpc_server, http, settings.lame_duck_seconds)
    loading.cancel()


async def _listen(rpc_server: RpcServer, http: HttpServer | None, control: Control) -> None:
    if not rpc_server.is_listening:
        await rpc_server.listen()
        if http is not None:
            await http.listen()
        control.send(Listening())


async def _publish_changes(engine: Engine, rpc_server: RpcServer, control: Control) -> None:
    """Publishes the health now and whenever it may have changed, to callers and to the supervisor."""
    while True:
        engine.health_changed.clear()
        await publish_health(engine, rpc_server.health)
        control.send(Health(rpc_server.health.unready_reason))
        await engine.health_changed.wait()
