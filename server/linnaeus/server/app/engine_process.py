"""The process of the core: models, devices and scheduling, without gRPC."""

import asyncio
import contextlib
import gc
import time
from functools import partial
from importlib.metadata import version

from linnaeus.server.app.control import Control
from linnaeus.server.app.require_model import require_a_model
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.core import EngineCore
from linnaeus.server.link.control_messages import LAST, Drain, LinkOpen, Scrape, Snapshot, ToChild
from linnaeus.server.link.core_server import CoreServer
from linnaeus.server.model_store.repository import FOLLOW_PART
from linnaeus.server.model_store.repository_watch import WATCH_PART, watch
from linnaeus.server.observability.merged_metrics import snapshot
from linnaeus.server.observability.metrics import Metrics
from linnaeus.server.process.signals import stop_on_signals
from linnaeus.server.process.supervised_task import keep_running
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.event_log import open_event_log
from linnaeus.server.requests.observer import Observers
from linnaeus.server.requests.request_record import NoRecords
from linnaeus.server.rpc.kserve.statistics import Statistics
from linnaeus.server.runtime.device import configure_process

# For a batch that still runs after its calls were cancelled.
_LAST_BATCH_SECONDS = 1.0


async def run_engine(settings: Settings, link_path: str, control: Control) -> None:
    """Serves the front ends until SIGTERM, which comes when they have ended.

    Raises:
        StartupError: if no model can be served.
        ServerFailed: if a part that the engine needs kept failing.
    """
    stop = stop_on_signals()
    configure_process(settings.intra_op_threads)
    metrics, statistics = Metrics(version("linnaeus")), Statistics()
    loop = asyncio.get_running_loop()
    supervisor = Supervisor(metrics.thread_failed, on_fatal=lambda part: loop.call_soon_threadsafe(stop.set))
    supervisor.watch_process(loop)
    event_log = open_event_log(settings.trace)
    observer = Observers(metrics, statistics)
    records = NoRecords() if settings.otel_endpoint or settings.request_log else None
    core = EngineCore(settings, observer, time.monotonic, event_log, supervisor, records, runs_short_apart=True)
    server = CoreServer(core, observer, statistics, event_log, time.monotonic, supervisor)
    metrics.add_engine(core, lambda: server.in_flight)
    metrics.add_event_log(event_log)

    def on_message(message: ToChild) -> None:
        if isinstance(message, Scrape):
            control.send(Snapshot(message.call, snapshot(metrics.registry)))
        elif isinstance(message, Drain):
            server.drain()

    control.receive(on_message)
    await server.listen(link_path)
    control.send(LinkOpen())
    try:
        await _serve_until(stop, core, server, metrics, settings, supervisor)
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_BATCH_SECONDS):
                await core.close()
        server.close()
        event_log.close()
        control.send(Snapshot(LAST, snapshot(metrics.registry)))
        control.flush()
    supervisor.raise_if_ended()


async def _serve_until(
    stop: asyncio.Event,
    core: EngineCore,
    server: CoreServer,
    metrics: Metrics,
    settings: Settings,
    supervisor: Supervisor,
) -> None:
    """Loads the models, then serves until `stop` is set."""
    loading, stop_signal = asyncio.create_task(core.load()), asyncio.create_task(stop.wait())
    await asyncio.wait({loading, stop_signal}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        loading.cancel()
        return
    loading.result()
    if settings.model_control != "explicit":
        require_a_model(core.catalog)
    gc.freeze()  # loaded models are permanent: excludes them from garbage collections while serving
    server.loaded()
    background = {"health": partial(_publish_changes, core, server, metrics)}
    if settings.model_control == "watch":
        background[WATCH_PART] = partial(watch, core.model_manager, settings.watch_seconds, supervisor)
        background[FOLLOW_PART] = partial(core.repository.follow, settings.watch_seconds, supervisor)
    tasks = [asyncio.create_task(keep_running(part, work, supervisor)) for part, work in background.items()]
    await stop_signal
    for each in tasks:
        each.cancel()


async def _publish_changes(core: EngineCore, server: CoreServer, metrics: Metrics) -> None:
    """Tells the front ends of devices that were removed, and drops metrics of gone versions."""
    while True:
        core.health_changed.clear()
        server.publish_devices()
        next_drop_seconds = metrics.drop_unserved(core.catalog.entries())
        with contextlib.suppress(TimeoutError):  # nothing changed, but metrics are to be dropped
            async with asyncio.timeout(next_drop_seconds):
                await core.health_changed.wait()
