"""Supervises a server of several processes: one engine, and front ends that share the port.

This process has neither models nor callers. It starts the others, starts them again when they end, and answers for all
of them on the metrics port, also while the engine is down.
"""

import asyncio
import contextlib
import itertools
import logging
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from linnaeus.server.app.child_process import ChildProcess
from linnaeus.server.app.fork_server import ForkServer
from linnaeus.server.app.process_watch import ProcessWatch
from linnaeus.server.app.scraped_metrics import ScrapedMetrics
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import ServerFailed, StartupError
from linnaeus.server.link.control_messages import (
    Connect,
    Drain,
    EngineState,
    Health,
    LinkOpen,
    Listening,
    MetricsWanted,
    Ping,
    Prepared,
    Refusal,
    Role,
    Snapshot,
    Start,
)
from linnaeus.server.observability.metrics_server import MetricsServer
from linnaeus.server.observability.probes import Probes
from linnaeus.server.process.signals import stop_on_signals
from linnaeus.server.process.supervisor import RestartLimit, Supervisor
from linnaeus.server.security.reserved_port import ReservedPort
from linnaeus.server.security.server_security import server_security

logger = logging.getLogger(__name__)

# After this many deaths in a minute a process is not started again.
_MOST_DEATHS = 5
_DEATHS_PERIOD_SECONDS = 60.0
_SHORTEST_BACKOFF_SECONDS = 0.1
# How long a process may take to end beyond what its calls may take.
_END_SECONDS = 5.0
_LOADING = "the models are loading"
_STARTING = "the engine is starting"
_SILENT = "the engine does not respond"


async def run_processes(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; then lets the front ends finish what is in flight, and ends the engine.

    Raises:
        StartupError: if the server cannot start.
        ServerFailed: if a process died too often.
    """
    stop = stop_on_signals()
    security = server_security(settings)
    for risk in security.risks:
        logger.warning("insecure: %s", risk)
    with contextlib.ExitStack() as held:
        settings = _with_ports(settings, held)
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="linnaeus-"))
        supervisor = Supervisor(on_fatal=lambda part: loop.call_soon_threadsafe(stop.set))
        loop = asyncio.get_running_loop()
        supervisor.watch_process(loop)
        processes = _Processes(settings, Path(folder))
        metrics_port = settings.metrics_port
        if not settings.has_metrics_on_http:
            probes, registry = Probes(loop, lambda: processes.unready_reason), processes.metrics.registry
            metrics_server = MetricsServer(registry, probes, settings.metrics_host, metrics_port, supervisor)
            held.callback(metrics_server.close)
            metrics_port = metrics_server.port
        processes.further_ports = {"metrics_port": metrics_port}
        if settings.http_port >= 0:
            processes.further_ports["http_port"] = settings.http_port
        if settings.has_health_port:
            processes.further_ports["health_port"] = settings.health_port
        async with _running(processes, settings):
            await processes.wait(stop)
            logger.info("stopping", extra={"event": {"event": "stopping"}})
    logger.info("stopped", extra={"event": {"event": "stopped"}})
    supervisor.raise_if_ended()


def _with_ports(settings: Settings, held: contextlib.ExitStack) -> Settings:
    """Takes the ports that the front ends share, and returns the settings with their numbers."""
    security = server_security(settings)
    port = ReservedPort(security.address, is_shared=True)
    held.callback(port.release)
    settings = replace(settings, port=port.address.port)
    if security.health is not None:
        health = ReservedPort(security.health, "the health port", is_shared=True)
        held.callback(health.release)
        settings = replace(settings, health_port=health.address.port)
    if security.http is not None:
        http = ReservedPort(security.http, "HTTP", is_shared=True)
        held.callback(http.release)
        settings = replace(settings, http_port=http.address.port)
    return settings


@asynccontextmanager
async def _running(processes: "_Processes", settings: Settings) -> AsyncIterator[None]:
    """Starts the processes; at the end stops the front ends, then the engine."""
    try:
        processes.start()
        yield
    finally:
        seconds = settings.lame_duck_seconds + settings.drain_seconds + _END_SECONDS
        await processes.stop(seconds)


class _Processes:
    """The engine and the front ends. Belongs to the event loop's thread.

    Args:
        settings: the server's settings, with the numbers of the ports.
        folder: a folder that only this user may look into, for the socket of the link.

    Attributes:
        metrics: the metrics of all processes.
        unready_reason: why the server is not ready, in a sentence; empty if it is. Any thread may read it.
        further_ports: the ports besides gRPC's, for the log.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.unready_reason = _LOADING
        self.further_ports: dict[str, int] = {}
        self._settings = settings
        self._json = TypeAdapter(Settings).dump_json(settings)
        self._folder = folder
        self._fork_server = ForkServer()
        self._children: dict[str, ChildProcess] = {}
        self.metrics = ScrapedMetrics(self._children)
        self._watch = ProcessWatch(self._update_readiness)
        self._reasons: dict[str, str] = {}
        self._engine_reason = ""
        self._prepared: set[str] = set()
        self._listening: set[str] = set()
        self._refusals: dict[str, str] = {}
        self._link_path = ""
        self._numbers = itertools.count(1)
        self._is_stopping = self._is_serving = self._is_prepared = self._is_listening = False
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Starts every process."""
        roles: dict[str, Role] = {"engine": "engine"}
        roles |= {f"front end {place}": "front_end" for place in range(1, self._settings.front_end_count + 1)}
        self._tasks = {name: asyncio.create_task(self._keep_running(name, role)) for name, role in roles.items()}
        self._watch.start()

    async def wait(self, stop: asyncio.Event) -> None:
        """Waits until `stop` is set.

        Raises:
            StartupError: if a process cannot start.
            ServerFailed: if a process died too often, or cannot be started.
        """
        stopping = asyncio.create_task(stop.wait())
        ended, _ = await asyncio.wait({stopping, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in ended - {stopping}:
            task.result()

    async def stop(self, seconds: float) -> None:
        """Ends the front ends, which may take `seconds`, then the engine."""
        self._is_stopping = True
        self._watch.close()
        self.unready_reason = "the server is stopping"
        if "engine" in self._children:
            self._children["engine"].send(Drain())
        front_ends = [name for name in self._tasks if name != "engine"]
        await self._end(front_ends, seconds)
        await self._end(["engine"], _END_SECONDS)

    async def _end(self, names: Iterable[str], seconds: float) -> None:
        tasks = [self._tasks[name] for name in names if name in self._tasks]
        children = [self._children[name] for name in names if name in self._children]
        for child in children:
            child.terminate()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for child in children if late else ():
                child.kill()
            await asyncio.wait(tasks)

    async def _keep_running(self, name: str, role: Role) -> None:
        """Runs a process, again and again, until the server stops."""
        limit = RestartLimit(time.monotonic, _MOST_DEATHS - 1, _DEATHS_PERIOD_SECONDS)
        while True:
            code = await self._run(name, role)
            if self._is_stopping:
                return
            if name in self._refusals and not self._is_serving:
                raise StartupError(self._refusals[name])
            if not limit.allows_restart():
                raise ServerFailed(f"the {name} died {_MOST_DEATHS} times in a minute, {_described(code)} at last")
            self.metrics.count_restart(name)
            seconds = _SHORTEST_BACKOFF_SECONDS * 2 ** (limit.recent - 1)
            logger.error(
                "the %s %s; it is started again in %.1f s",
                name,
                _described(code),
                seconds,
                extra={"event": {"event": "process_died", "process": name, "exit_code": code}},
            )
            await asyncio.sleep(seconds)
            if self._is_stopping:
                return

    async def _run(self, name: str, role: Role) -> int:
        number = next(self._numbers)
        link_path = str(self._folder / f"engine-{number}")
        start = Start(role, number, self._json, link_path)
        child = ChildProcess(self._fork_server, start, lambda message: self._received(name, message))
        self._children[name] = child
        try:
            await child.spawn()
            if self._is_stopping:
                child.terminate()
            if role == "front_end" and self._link_path:
                child.send(Connect(self._link_path))
                child.send(EngineState(self._engine_reason))
            return await child.wait()
        except OSError as error:
            raise ServerFailed(f"the {name} cannot be started ({error}); raise the limits of the server") from None
        finally:
            del self._children[name]
            self._forget(name)

    def _forget(self, name: str) -> None:
        """Forgets what a process that has ended said of itself."""
        self._watch.end(name)
        self.metrics.ended(name)
        self._reasons.pop(name, None)
        if name == "engine":
            self._link_path = ""
        self._update_readiness()

    def _received(self, name: str, message: Any) -> None:
        self._watch.responded(name)
        match message:
            case LinkOpen():
                self._begin_watch(name)
                self._link_path = self._children[name].start.link_path
                for other, child in self._children.items():
                    if other != "engine":
                        child.send(Connect(self._link_path))
            case Prepared():
                self._begin_watch(name)
                self._prepared.add(name)
                self._log_loading()
            case Listening():
                self._listening.add(name)
                self._log_listening()
            case Health(unready_reason=reason):
                self._reasons[name] = reason
                self._update_readiness()
            case Snapshot():
                self.metrics.scraped(name, message)
            case MetricsWanted():
                self.metrics.answer(self._children[name])
            case Refusal(reason=reason):
                self._refusals[name] = reason

    def _begin_watch(self, name: str) -> None:
        """Watches a process that has started."""
        child = self._children[name]
        self._watch.begin(name, lambda: child.send(Ping()), child.kill)

    def _log_loading(self) -> None:
        """Logs the ports that are open while the models load, once."""
        if not self._is_prepared and len(self._prepared) == self._settings.front_end_count:
            self._is_prepared = True
            event = {"event": "loading", **self.further_ports}
            port = self.further_ports["metrics_port"]
            logger.info("loading the models: metrics on port %d", port, extra={"event": event})

    def _log_listening(self) -> None:
        if self._is_listening or len(self._listening) < self._settings.front_end_count:
            return
        self._is_listening = True
        port, further = self._settings.port, self.further_ports
        logger.info(
            "listening: gRPC on port %d%s, metrics on port %d",
            port,
            f", HTTP on port {further['http_port']}" if "http_port" in further else "",
            further["metrics_port"],
            extra={"event": {"event": "listening", "port": port, **further}},
        )

    def _update_readiness(self) -> None:
        """The server is ready if a front end is: the kernel deals new connections out to those that listen."""
        if self._is_stopping:
            return
        self._tell_engine_state()
        if not self._is_serving and not self._reasons:
            return
        silent = self._watch.silent
        if not self._link_path or "engine" in silent:
            self.unready_reason = _SILENT if self._link_path else _STARTING
            return
        reasons = [f"the {name} does not respond" if name in silent else self._reasons[name] for name in self._reasons]
        self.unready_reason = "" if "" in reasons else next(iter(reasons), _STARTING)
        all_ready = len(reasons) == self._settings.front_end_count and not any(reasons)
        if all_ready and not self._is_serving:
            self._is_serving = True
            logger.info("serving", extra={"event": {"event": "serving"}})

    def _tell_engine_state(self) -> None:
        """Tells the front ends whether the engine stands still, which they do not see."""
        reason = _SILENT if "engine" in self._watch.silent else ""
        if reason != self._engine_reason:
            self._engine_reason = reason
            for name, child in self._children.items():
                if name != "engine":
                    child.send(EngineState(reason))


def _described(code: int) -> str:
    """Returns how a process ended, as a predicate."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"
