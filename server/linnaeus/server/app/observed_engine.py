"""An engine in this process with all that watches it, and the work that goes on beside it while it serves."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from linnaeus.server.app.health import publish_health
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.model_store.repository import FOLLOW_PART
from linnaeus.server.model_store.repository_watch import WATCH_PART, watch
from linnaeus.server.observability.metrics import Metrics
from linnaeus.server.observability.telemetry import Telemetry
from linnaeus.server.process.supervised_task import keep_running
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.event_log import EventLog, open_event_log
from linnaeus.server.requests.observer import Observer, Observers
from linnaeus.server.rpc.kserve.statistics import Statistics
from linnaeus.server.rpc.published_health import PublishedHealth
from linnaeus.server.runtime.device import configure_process
from linnaeus.server.security.charging import Charge, charging


@dataclass(frozen=True, slots=True)
class ObservedEngine:
    """An engine and what watches it.

    Attributes:
        engine: answers requests once it is loaded.
        metrics: of the process.
        statistics: as KServe's calls have them.
        telemetry: traces and the request log.
        event_log: has a line for each thing that happens.
        supervisor: receives faults that escaped.
        charge: charges callers.
        release: of this package.
    """

    engine: LocalEngine
    metrics: Metrics
    statistics: Statistics
    telemetry: Telemetry
    event_log: EventLog
    supervisor: Supervisor
    charge: Charge
    release: str

    @property
    def has_traces(self) -> bool:
        """Whether calls need a context for telemetry."""
        return self.telemetry.record_handler is not None

    async def close_logs(self) -> None:
        """Writes what traces and logs still hold."""
        self.event_log.close()
        await self.telemetry.close()


def observed_engine(
    settings: Settings, on_fatal: Callable[[str], object], *further_observers: Observer
) -> ObservedEngine:
    """Constructs an engine, of which no model is loaded, and configures this process for it.

    Args:
        settings: the settings of the engine and of what watches it.
        on_fatal: ends the server, because the named part cannot go on. Called on any thread.
        further_observers: receive the engine's events beside metrics and statistics.

    Raises:
        StartupError: if a setting cannot be used.
    """
    configure_process(settings.intra_op_threads)
    release = version("linnaeus")
    metrics, statistics = Metrics(release), Statistics()
    supervisor = Supervisor(metrics.thread_failed, on_fatal=on_fatal)
    supervisor.watch_process(asyncio.get_running_loop())
    event_log = open_event_log(settings.trace)
    telemetry = Telemetry(settings, release, supervisor)
    engine = LocalEngine(
        settings,
        Observers(metrics, statistics, *further_observers),
        event_log=event_log,
        record_handler=telemetry.record_handler,
        supervisor=supervisor,
    )
    metrics.add_engine(engine.core, lambda: engine.in_flight)
    metrics.add_event_log(event_log)
    charge = charging(settings.rate_limit, engine.core.charge)
    return ObservedEngine(engine, metrics, statistics, telemetry, event_log, supervisor, charge, release)


def start_background(
    observed: ObservedEngine, health: PublishedHealth, settings: Settings
) -> "list[asyncio.Task[None]]":
    """Starts what goes on beside a loaded engine until it is cancelled: its health, and the watch of its models."""
    engine, supervisor = observed.engine, observed.supervisor
    work = {"health": partial(publish_changes, engine, health, observed.metrics)}
    if settings.model_control == "watch":
        work[WATCH_PART] = partial(watch, engine.core.model_manager, settings.watch_seconds, supervisor)
        work[FOLLOW_PART] = partial(engine.core.repository.follow, settings.watch_seconds, supervisor)
    return [asyncio.create_task(keep_running(part, each, supervisor)) for part, each in work.items()]


async def publish_changes(engine: Engine, health: PublishedHealth, metrics: Metrics) -> None:
    """Publishes the health now, as after a fault, and whenever it may have changed; drops metrics of gone versions."""
    while True:
        engine.health_changed.clear()
        await publish_health(engine, health)
        next_drop_seconds = metrics.drop_unserved(engine.catalog.entries())
        with contextlib.suppress(TimeoutError):  # nothing changed, but metrics are to be dropped
            async with asyncio.timeout(next_drop_seconds):
                await engine.health_changed.wait()
