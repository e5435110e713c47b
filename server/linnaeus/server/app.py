"""Wiring of the server: constructs every component from the settings, starts them and stops them in order.

This is the only module that constructs components of several folders. It implements none of them.
"""

import asyncio
import gc
import logging
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.errors import StartupError
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.model_store.repository_watch import watch
from linnaeus.server.observability.metrics import Metrics
from linnaeus.server.observability.metrics_server import MetricsServer
from linnaeus.server.observability.telemetry import Telemetry
from linnaeus.server.process.signals import stop_on_signals
from linnaeus.server.requests.event_log import open_event_log
from linnaeus.server.requests.observer import Observers
from linnaeus.server.rpc import classifier, model_service
from linnaeus.server.rpc.connection_age import connection_age_options
from linnaeus.server.rpc.kserve import servicer as inference
from linnaeus.server.rpc.kserve.statistics import Statistics
from linnaeus.server.rpc.kserve.unserved_calls import add_inference_service
from linnaeus.server.rpc.server import RpcServer, Service
from linnaeus.server.rpc.trace_context import with_call_context
from linnaeus.server.runtime.device import configure_process
from linnaeus.server.security.authorization import Charge, no_charge
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.server_security import ServerSecurity, server_security
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

logger = logging.getLogger(__name__)


async def run_server(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then finishes the requests in flight.

    Raises:
        StartupError: if the server cannot start.
    """
    stop = stop_on_signals()  # first, so that a signal that arrives during the start is not lost
    security = server_security(settings)
    configure_process(settings.intra_op_threads)
    release = version("linnaeus")
    metrics = Metrics(release)
    event_log = open_event_log(settings.trace)
    statistics = Statistics()
    telemetry = Telemetry(settings, release)
    engine = Engine(
        settings, Observers(metrics, statistics), event_log=event_log, record_handler=telemetry.record_handler
    )
    metrics.add_engine(engine)
    metrics_server = MetricsServer(metrics.registry, settings.metrics_host, settings.metrics_port)
    charge = security.authorizer.charge if security.authorizer else no_charge
    age_options = connection_age_options(settings.max_connection_age_seconds, settings.max_connection_grace_seconds)
    rpc_server = RpcServer(metrics, security, settings.max_message_bytes, age_options)
    services = _services(engine, settings, release, statistics, lambda: rpc_server.is_serving, charge)
    if telemetry.record_handler is not None:
        has_tokens = bool(settings.token_file)
        services = [Service(each.name, with_call_context(each.add, has_tokens)) for each in services]
    await rpc_server.start(services)
    _log_ports(rpc_server, metrics_server, security)
    try:
        await _serve_until(stop, engine, rpc_server, settings)
    finally:
        await rpc_server.stop(engine.close(), settings.drain_seconds)
        metrics_server.close()
        event_log.close()
        await telemetry.close()
        logger.info("stopped", extra={"event": {"event": "stopped"}})


def _services(
    engine: Engine,
    settings: Settings,
    release: str,
    statistics: Statistics,
    is_ready: Callable[[], bool],
    charge: Charge,
) -> list[Service]:
    limits = v1.ServerLimits(
        max_message_bytes=settings.max_message_bytes,
        max_image_pixels=settings.max_image_pixels,
        max_batch_images=settings.max_batch_images,
        stream_window=settings.stream_window,
    )
    servicer = classifier.ClassifierServicer(engine, limits, release, charge=charge)
    kserve_servicer = inference.InferenceServicer(
        engine, statistics, release, is_ready, model_manager=engine.model_manager, charge=charge
    )
    models = model_service.ModelServicer(engine.model_manager, engine.catalog)
    return [
        Service(classifier.NAME, partial(v1_grpc.add_ClassifierServiceServicer_to_server, servicer)),
        Service(inference.NAME, partial(add_inference_service, kserve_servicer)),
        Service(model_service.NAME, partial(v1_grpc.add_ModelServiceServicer_to_server, models)),
    ]


def _log_ports(rpc_server: RpcServer, metrics_server: MetricsServer, security: ServerSecurity) -> None:
    ports = {"port": rpc_server.port, "metrics_port": metrics_server.port, "health_port": rpc_server.health_port}
    sentence = f"gRPC on {_port_or_file(security.address, rpc_server.port)}, metrics on port {metrics_server.port}"
    if security.health is not None:
        sentence += f", health alone on {_port_or_file(security.health, rpc_server.health_port)}"
    logger.info("listening: %s", sentence, extra={"event": {"event": "listening", **ports}})


def _port_or_file(address: Address, port: int | None) -> str:
    return str(address) if address.is_socket_file else f"port {port}"


async def _serve_until(stop: asyncio.Event, engine: Engine, rpc_server: RpcServer, settings: Settings) -> None:
    """Loads the models, then serves until `stop` is set.

    If `stop` is set while models load, no lame-duck phase follows: the server has never reported SERVING.
    """
    loading = asyncio.create_task(engine.load())
    stop_signal = asyncio.create_task(stop.wait())
    await asyncio.wait({loading, stop_signal}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        if settings.model_control != "explicit":
            _require_a_model(engine)
        gc.freeze()  # loaded models are permanent: excludes them from garbage collections while serving
        await _publish_health(engine, rpc_server)
        logger.info("serving", extra={"event": {"event": "serving"}})
        tasks = [asyncio.create_task(_publish_health_changes(engine, rpc_server))]
        if settings.model_control == "watch":
            tasks.append(asyncio.create_task(watch(engine.model_manager, settings.watch_seconds)))
        await stop_signal
        for each in tasks:
            each.cancel()
    logger.info("stopping", extra={"event": {"event": "stopping"}})
    if loading.done():
        await rpc_server.lame_duck(settings.lame_duck_seconds)
    loading.cancel()  # the engine finishes the model that is loading and starts no further one


async def _publish_health_changes(engine: Engine, rpc_server: RpcServer) -> None:
    while True:
        await engine.health_changed.wait()
        engine.health_changed.clear()
        await _publish_health(engine, rpc_server)


async def _publish_health(engine: Engine, rpc_server: RpcServer) -> None:
    """Publishes the health of each device, and of the server: SERVING if every ready model has a working device."""
    states = engine.device_states
    for name, is_working in states.items():
        await rpc_server.set_device_status(name, is_working)
    ready = (entry for entry in engine.catalog.entries() if entry.state is ModelState.READY)
    if all(any(states[name] for name in entry.devices) for entry in ready):
        await rpc_server.set_serving()
    else:
        await rpc_server.set_not_serving()


def _require_a_model(engine: Engine) -> None:
    entries = engine.catalog.entries()
    if not any(entry.state is ModelState.READY for entry in entries):
        reasons = "; ".join(f"{entry.name}/{entry.version}: {entry.reason}" for entry in entries)
        raise StartupError(f"no model can be served: {reasons}")
