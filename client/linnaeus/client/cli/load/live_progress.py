"""The progress of a load test on stderr: updated in place on a terminal, otherwise one line every ten seconds."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import Snapshot
from linnaeus.client.load.report.metrics import UNKNOWN, format_load, format_milliseconds, format_number
from linnaeus.client.load.results import Measurement

_SECONDS_BETWEEN_LINES = 10.0
_PHASES = {"warmup": "warming up", "measuring": "measuring", "draining": "waiting for the last answers"}


class LiveProgress:
    """Shows the progress; a context manager, within which nothing else may write to the terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, markup=False, emoji=False, highlight=False)
        # Refreshed with each update, not by a thread of its own.
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._plan: Plan | None = None
        self._title = ""
        self._is_step = False
        self._last_line_at: float | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def measurement_started(self, plan: Plan, number: int, of: int | None) -> None:
        """Shows that a measurement is about to start."""
        self._plan, self._last_line_at = plan, None
        self._is_step = of != 1
        step = f"step {number}: " if of is None else f"step {number} of {of}: "
        self._title = f"{step if self._is_step else ''}{format_load(plan.rate, plan.concurrency)}"
        self._show(Text(f"{self._title}, starting"))

    def update(self, snapshot: Snapshot) -> None:
        """Shows the current state."""
        status = f"{self._title}, {_PHASES[snapshot.phase]}, {_elapsed(snapshot, self._plan)}"
        if self._console.is_terminal:
            self._show(Group(Text(status), self._bar(snapshot), *map(Text, _metrics(snapshot))))
        elif self._last_line_at is None:
            self._last_line_at = snapshot.elapsed_seconds
        elif snapshot.elapsed_seconds - self._last_line_at >= _SECONDS_BETWEEN_LINES:
            self._last_line_at = snapshot.elapsed_seconds
            self._print(f"{status}, {'  '.join(_metrics(snapshot))}")

    def measurement_ended(self, measurement: Measurement) -> None:
        """Prints the result of a step, which stays visible above the bar."""
        if not self._is_step:
            return
        latency = measurement.latency
        rates = f"goodput {format_number(measurement.goodput)}/s  p50 {format_milliseconds(latency.p50)} ms"
        grew = "  queue grows" if measurement.queue is not None and measurement.queue.grows else ""
        self._print(f"{self._title} done: {rates}  p99 {format_milliseconds(latency.p99)} ms{grew}")

    def _bar(self, snapshot: Snapshot) -> ProgressBar:
        total = self._plan.duration_seconds if self._plan else 1.0
        return ProgressBar(total=total, completed=min(max(snapshot.elapsed_seconds, 0.0), total), width=60)

    def _show(self, content: Text | Group) -> None:
        if self._console.is_terminal:
            self._live.update(content, refresh=True)

    def _print(self, line: str) -> None:
        if self._console.is_terminal:
            self._console.print(line, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _elapsed(snapshot: Snapshot, plan: Plan | None) -> str:
    if plan is None or snapshot.elapsed_seconds < 0:
        return f"{-snapshot.elapsed_seconds:.0f} s to go"
    return f"{snapshot.elapsed_seconds:.0f} of {plan.duration_seconds:g} s"


def _metrics(snapshot: Snapshot) -> tuple[str, str]:
    """Returns the outcomes and the speeds: two lines on a terminal of 80 columns."""
    latencies = (("p50", snapshot.p50_seconds), ("p99", snapshot.p99_seconds))
    outcomes = (f"{name} {getattr(snapshot, name):,}" for name in ("sent", "ok", "late", "refused", "failed"))
    speeds = (
        f"{format_number(snapshot.calls_per_second)} calls/s",
        f"in flight {snapshot.in_flight:,}",
        *(f"{name} {UNKNOWN if value is None else format_milliseconds(value) + ' ms'}" for name, value in latencies),
    )
    return "  ".join(outcomes), "  ".join(speeds)
