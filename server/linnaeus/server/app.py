"""The only place that wires everything: settings in, a running server out."""

import asyncio
import gc
import logging
import signal
from importlib.metadata import version

from linnaeus.server.config import Settings
from linnaeus.server.engine.catalog import State
from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.trace import open_trace
from linnaeus.server.errors import StartupError
from linnaeus.server.metrics import Metrics, MetricsServer
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.connections import age_options
from linnaeus.server.rpc.interceptors import CallInterceptor
from linnaeus.server.rpc.server import RpcServer
from linnaeus.server.runtime.device import configure_process
from linnaeus.v1 import classifier_pb2 as v1

logger = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is in flight.

    Raises:
        StartupError: the server cannot start.
    """
    told = _signals()  # before anybody is told that there is a server to stop
    configure_process(settings.intra_op_threads)
    release = version("linnaeus")
    metrics = Metrics(release)
    trace = open_trace(settings.trace)
    engine = Engine(settings, metrics, trace=trace)
    metrics.watch(engine)
    metrics_server = MetricsServer(metrics.registry, settings.metrics_host, settings.metrics_port)
    ageing = age_options(settings.max_connection_age_seconds, settings.max_connection_grace_seconds)
    rpc_server = RpcServer(CallInterceptor(metrics), settings.host, settings.port, settings.max_message_bytes, ageing)
    limits = v1.ServerLimits(max_message_bytes=settings.max_message_bytes, max_image_pixels=settings.max_image_pixels)
    await rpc_server.start(ClassifierServicer(engine, limits, release))
    ports = {"event": "listening", "port": rpc_server.port, "metrics_port": metrics_server.port}
    logger.info("listening: gRPC on port %d, metrics on port %d", *list(ports.values())[1:], extra={"event": ports})
    try:
        await _serve_until(told, engine, rpc_server)
    finally:
        await rpc_server.stop(engine.close(), settings.drain_seconds)
        metrics_server.close()
        trace.close()
        logger.info("stopped", extra={"event": {"event": "stopped"}})


async def _serve_until(told: asyncio.Event, engine: Engine, rpc_server: RpcServer) -> None:
    """Loads the models, then waits; being told ends either."""
    loading = asyncio.create_task(engine.load())
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({loading, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        _require_a_model(engine)
        gc.freeze()  # what was loaded stays: collections while serving need not walk over it
        await _tell_health(engine, rpc_server)
        logger.info("serving", extra={"event": {"event": "serving"}})
        losing = asyncio.create_task(_tell_losses(engine, rpc_server))
        await waiting
        losing.cancel()
    logger.info("stopping", extra={"event": {"event": "stopping"}})
    loading.cancel()  # the model being loaded is finished, no further one is begun


async def _tell_losses(engine: Engine, rpc_server: RpcServer) -> None:
    while True:
        await engine.losses.get()
        await _tell_health(engine, rpc_server)


async def _tell_health(engine: Engine, rpc_server: RpcServer) -> None:
    """The server is well as long as every model that is ready has a device; each device is told of by itself."""
    states = engine.device_states
    for name, works in states.items():
        await rpc_server.device(name, works)
    ready = (entry for entry in engine.catalog.entries() if entry.state is State.READY)
    if all(any(states[name] for name in entry.devices) for entry in ready):
        await rpc_server.serving()
    else:
        await rpc_server.not_serving()


def _signals() -> asyncio.Event:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, told.set)
    return told


def _require_a_model(engine: Engine) -> None:
    entries = engine.catalog.entries()
    if not any(entry.state is State.READY for entry in entries):
        reasons = "; ".join(f"{entry.name}/{entry.version}: {entry.reason}" for entry in entries)
        raise StartupError(f"no model can be served: {reasons}")
