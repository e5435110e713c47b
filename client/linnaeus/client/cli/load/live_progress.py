"""A load test under way, on stderr: redrawn in place on a terminal, otherwise one line every ten seconds.

What is on stdout stays what was measured, whoever watches.
"""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import Snapshot
from linnaeus.client.load.report.metrics import UNKNOWN, load_in_words, milliseconds, shortened
from linnaeus.client.load.results import Spell

_SECONDS_BETWEEN_LINES = 10.0
_PHASES = {"warmup": "warming up", "measuring": "measuring", "draining": "waiting for the last answers"}


class LiveProgress:
    """Shows how a run goes; a context manager, inside which nothing else may write to the terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, markup=False, emoji=False, highlight=False)
        # Drawn when there is news, not by a thread of its own.
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._plan: Plan | None = None
        self._title = ""
        self._is_step = False
        self._told_at: float | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def spell_started(self, plan: Plan, number: int, of: int | None) -> None:
        """A spell is about to start."""
        self._plan, self._told_at = plan, None
        self._is_step = of != 1
        place = f"step {number}: " if of is None else f"step {number} of {of}: "
        self._title = f"{place if self._is_step else ''}{load_in_words(plan.rate, plan.concurrency)}"
        self._show(Text(f"{self._title}, starting"))

    def tick(self, snapshot: Snapshot) -> None:
        """How it stands now."""
        words = f"{self._title}, {_PHASES[snapshot.phase]}, {_elapsed(snapshot, self._plan)}"
        if self._console.is_terminal:
            self._show(Group(Text(words), self._bar(snapshot), *map(Text, _figures(snapshot))))
        elif self._told_at is None:
            self._told_at = snapshot.elapsed_seconds
        elif snapshot.elapsed_seconds - self._told_at >= _SECONDS_BETWEEN_LINES:
            self._told_at = snapshot.elapsed_seconds
            self._say(f"{words}, {'  '.join(_figures(snapshot))}")

    def spell_ended(self, spell: Spell) -> None:
        """A step of several is over; what it found stays readable above the bar."""
        if not self._is_step:
            return
        figures = f"goodput {shortened(spell.goodput)}/s  p50 {milliseconds(spell.latency.p50)} ms"
        self._say(f"{self._title} done: {figures}  p99 {milliseconds(spell.latency.p99)} ms")

    def _bar(self, snapshot: Snapshot) -> ProgressBar:
        total = self._plan.duration_seconds if self._plan else 1.0
        return ProgressBar(total=total, completed=min(max(snapshot.elapsed_seconds, 0.0), total), width=60)

    def _show(self, what: Text | Group) -> None:
        if self._console.is_terminal:
            self._live.update(what, refresh=True)

    def _say(self, line: str) -> None:
        if self._console.is_terminal:
            self._console.print(line, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _elapsed(snapshot: Snapshot, plan: Plan | None) -> str:
    if plan is None or snapshot.elapsed_seconds < 0:
        return f"{-snapshot.elapsed_seconds:.0f} s to go"
    return f"{snapshot.elapsed_seconds:.0f} of {plan.duration_seconds:g} s"


def _figures(snapshot: Snapshot) -> tuple[str, str]:
    """What became of the calls, and how fast they were: two lines on a terminal of 80 columns."""
    latencies = (("p50", snapshot.p50_seconds), ("p99", snapshot.p99_seconds))
    outcomes = (f"{name} {getattr(snapshot, name):,}" for name in ("sent", "ok", "late", "refused", "failed"))
    speeds = (
        f"{shortened(snapshot.calls_per_second)} calls/s",
        f"in flight {snapshot.in_flight:,}",
        *(f"{name} {UNKNOWN if value is None else milliseconds(value) + ' ms'}" for name, value in latencies),
    )
    return "  ".join(outcomes), "  ".join(speeds)
