"""The metrics of all processes, asked for at each scrape."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from linnaeus.server.app.child_process import ChildProcess
from linnaeus.server.link.control_messages import AllMetrics, Scrape, Snapshot
from linnaeus.server.observability.merged_metrics import MergedMetrics
from linnaeus.server.observability.metrics_text import registry_text

logger = logging.getLogger(__name__)

# A process that does not reply in this time is shown as it was at the last scrape.
_PATIENCE_SECONDS = 0.5


class ScrapedMetrics(Collector):
    """Merges the metrics of the processes. Belongs to the event loop's thread, but for `collect`.

    Args:
        children: the running processes, by name; changes as they end and start.

    Attributes:
        registry: has all metrics.
    """

    def __init__(self, children: Mapping[str, ChildProcess]) -> None:
        self._children = children
        self._merged = MergedMetrics()
        self._loop = asyncio.get_running_loop()
        self._calls = itertools.count(1)
        self._call = 0
        self._missing: set[str] = set()
        self._complete = asyncio.Event()
        self._answers: set[asyncio.Task[None]] = set()
        self._own = CollectorRegistry()
        self._restarts = Counter(
            "linnaeus_process_restarts", "Processes that died and were started again.", ("process",), registry=self._own
        )
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._text = registry_text(self.registry)

    def collect(self) -> Iterable[Metric]:
        """Yields the metrics of all processes; called on the thread of the scrape."""
        asyncio.run_coroutine_threadsafe(self._scrape(), self._loop).result()
        yield from self._merged.collect()
        yield from self._own.collect()

    def count_restart(self, process: str) -> None:
        """Counts a process that is started again."""
        self._restarts.labels(process.split()[0]).inc()

    def ended(self, process: str) -> None:
        """Keeps what a process that has ended has counted."""
        self._merged.ended(process)
        self._discard(process)

    def scraped(self, process: str, snapshot: Snapshot) -> None:
        """Takes the metrics of a process."""
        self._merged.update(process, snapshot.metrics)
        if snapshot.call == self._call:
            self._discard(process)

    def answer(self, child: ChildProcess) -> None:
        """Sends a process the metrics of all, once they are gathered."""
        task = asyncio.create_task(self._send_text(child))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _send_text(self, child: ChildProcess) -> None:
        text = b""
        try:
            text = await self._text()
        except Exception:  # the process must have an answer, else it would wait for ever
            logger.exception("the metrics cannot be gathered")
        child.send(AllMetrics(text))

    async def _scrape(self) -> None:
        """Asks every process, and waits until all have replied."""
        self._call = next(self._calls)
        self._missing = set(self._children)
        self._complete.clear()
        for child in self._children.values():
            child.send(Scrape(self._call))
        with contextlib.suppress(TimeoutError):  # what a late process said last is shown
            async with asyncio.timeout(_PATIENCE_SECONDS):
                if self._missing:
                    await self._complete.wait()

    def _discard(self, process: str) -> None:
        self._missing.discard(process)
        if not self._missing:
            self._complete.set()
