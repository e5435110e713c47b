"""One spell from beginning to end: the processes' words added up, shown, and told as a `Spell`.

It must not know of ramps and searches, nor how a call is sent.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from linnaeus.client.load.generator.records import Finished, News, Ready, Top
from linnaeus.client.load.generator.worker_pool import Fleet
from linnaeus.client.load.measurement.interrupts import Interrupts
from linnaeus.client.load.measurement.server_metrics import (
    MetricsUnreadable,
    Sample,
    metrics_url_of,
    read_sample,
    view_between,
)
from linnaeus.client.load.measurement.statistics import Tally
from linnaeus.client.load.measurement.tester_bottleneck import tester_view
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import Phase, Progress, Snapshot
from linnaeus.client.load.results import ServerView, Spell

TICK_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 0.1
# After a second Ctrl-C: for the processes to cancel their calls and say so.
_DROP_SECONDS = 3.0


@dataclass(slots=True)
class Told:
    """A spell with what does not fit into it.

    Attributes:
        spell: what became of its calls.
        note: why there are no metrics; empty if there are, or none were wanted.
        first_answers: what each process was answered first, by the picture's place in the plan.
    """

    spell: Spell
    note: str
    first_answers: list[dict[int, Top]] = field(default_factory=list)


def run_spell(plan: Plan, progress: Progress, interrupts: Interrupts) -> Told:
    """Runs one spell; an interrupt ends it early, a second one drops its calls in flight.

    Raises:
        LoadFailed: a process of the tester died.
    """
    with Fleet(plan) as fleet, ThreadPoolExecutor(max_workers=1) as reader:
        watch = _Watch(plan, progress, interrupts, fleet, reader)
        while not watch.is_over:
            try:
                watch.step()
            except KeyboardInterrupt:  # raised by the progress, or where no signal can be heard
                interrupts.count += 1
        return watch.told()


class _Watch:
    """One spell under way, as the parent follows it; one thread."""

    def __init__(
        self, plan: Plan, progress: Progress, interrupts: Interrupts, fleet: Fleet, reader: ThreadPoolExecutor
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._interrupts = interrupts
        self._fleet = fleet
        self._metrics = _Metrics(plan, reader)
        self._tally = Tally(plan.duration_seconds)
        self._ready = 0
        self._start: float | None = None
        self._in_flight: dict[object, int] = {}
        self._finished: list[Finished] = []
        self._heard = 0
        self._stopped_at: float | None = None
        self._dropped_at: float | None = None
        self._ticked_at = time.monotonic()
        self._ticked_ended = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be heard."""
        waited_enough = self._dropped_at is not None and time.monotonic() > self._dropped_at + _DROP_SECONDS
        return self._fleet.is_done or waited_enough

    def step(self) -> None:
        """Hears what the processes say, passes interrupts on, and shows how things stand."""
        for pipe, word in self._fleet.words(_LONGEST_WAIT_SECONDS):
            self._take(pipe, word)
        self._pass_interrupts_on()
        self._metrics.follow(self._elapsed())
        if self._start is not None and time.monotonic() >= self._ticked_at + TICK_SECONDS:
            self._tick()

    def told(self) -> Told:
        """The whole spell."""
        tally = self._tally
        server, note = self._metrics.view()
        spell = Spell(
            rate=self._plan.rate,
            concurrency=self._plan.concurrency,
            seconds=self._measured_seconds(),
            counts=tally.counts(),
            latency=tally.latency(),
            timeline=tally.timeline(),
            server=server,
            tester=tester_view(self._plan, self._finished, tally),
            interrupted=self._stopped_at is not None,
        )
        return Told(spell, note, [each.first_answers for each in self._finished])

    def _take(self, pipe: object, word: object) -> None:
        if isinstance(word, News):
            self._tally.add(word.records)
            self._in_flight[pipe] = word.in_flight
        elif isinstance(word, Finished):
            self._finished.append(word)
        elif isinstance(word, Ready):
            self._ready += 1
            if self._ready == self._plan.process_count and self._stopped_at is None:
                self._start = self._fleet.start()

    def _pass_interrupts_on(self) -> None:
        while self._heard < self._interrupts.count:
            self._heard += 1
            if self._stopped_at is None:
                self._stopped_at = time.monotonic()
                self._fleet.stop()
            elif self._dropped_at is None:
                self._dropped_at = time.monotonic()
                self._fleet.drop()

    def _elapsed(self) -> float | None:
        return None if self._start is None else time.monotonic() - self._start

    def _measured_seconds(self) -> float:
        if self._stopped_at is None:
            return self._plan.duration_seconds
        if self._start is None:
            return 0.0
        return min(max(self._stopped_at - self._start, 0.0), self._plan.duration_seconds)

    def _tick(self) -> None:
        now = time.monotonic()
        ended, seconds = self._tally.ended - self._ticked_ended, now - self._ticked_at
        self._ticked_at, self._ticked_ended = now, self._tally.ended
        self._progress.tick(self._snapshot(ended / seconds))

    def _snapshot(self, calls_per_second: float) -> Snapshot:
        counts, latencies = self._tally.counts(), self._tally.latencies
        in_flight = sum(self._in_flight.values())
        return Snapshot(
            elapsed_seconds=self._elapsed() or 0.0,
            phase=self._phase(),
            sent=counts.sent + in_flight,
            ok=counts.ok,
            late=counts.late,
            refused=counts.refused,
            failed=counts.failed + counts.differed,
            in_flight=in_flight,
            calls_per_second=calls_per_second,
            p50_seconds=latencies.at_percentile(50) if len(latencies) else None,
            p99_seconds=latencies.at_percentile(99) if len(latencies) else None,
        )

    def _phase(self) -> Phase:
        elapsed = self._elapsed() or 0.0
        if self._stopped_at is not None or elapsed >= self._plan.duration_seconds:
            return "draining"
        return "measuring" if elapsed >= 0 else "warmup"


class _Metrics:
    """The server's metrics at the start of measuring and at the end, read beside the spell; one thread."""

    def __init__(self, plan: Plan, reader: ThreadPoolExecutor) -> None:
        self._plan = plan
        self._reader = reader
        self._url, self._problem = "", ""
        self._before: Future[Sample] | None = None
        try:
            self._url = metrics_url_of(plan)
        except MetricsUnreadable as error:
            self._problem = str(error)

    def follow(self, elapsed_seconds: float | None) -> None:
        """Reads them for the first time when measuring has begun."""
        if self._url and self._before is None and elapsed_seconds is not None and elapsed_seconds >= 0:
            self._before = self._read()

    def view(self) -> tuple[ServerView | None, str]:
        """What happened since, or None and why that is not known, or None and nothing if it was not wanted."""
        if self._before is None:
            return None, self._problem
        try:
            return view_between(self._before.result(), self._read().result()), ""
        except MetricsUnreadable as error:
            return None, str(error)

    def _read(self) -> "Future[Sample]":
        return self._reader.submit(read_sample, self._url, self._plan.model, self._plan.version)
