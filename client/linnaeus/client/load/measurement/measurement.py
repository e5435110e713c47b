"""Runs one measurement: controls the generator processes, collects their records, reports progress."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from linnaeus.client.load.generator.process_messages import Finished, Ready, Update
from linnaeus.client.load.generator.process_pool import ProcessPool
from linnaeus.client.load.generator.records import TopClass
from linnaeus.client.load.measurement.generator_bottleneck import load_tester_view
from linnaeus.client.load.measurement.interrupts import Interrupts
from linnaeus.client.load.measurement.server_metrics import (
    MetricsUnreadable,
    Sample,
    metrics_url,
    read_sample,
    server_view,
)
from linnaeus.client.load.measurement.statistics import Statistics
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import Phase, Progress, Snapshot
from linnaeus.client.load.results import Measurement, QueueTrend, ServerView

PROGRESS_INTERVAL_SECONDS = 0.5
_RECEIVE_TIMEOUT_SECONDS = 0.1
# After a second Ctrl-C: the time for the processes to cancel their calls and to report that.
_CANCEL_TIMEOUT_SECONDS = 3.0


@dataclass(slots=True)
class MeasurementResult:
    """A measurement with what does not belong to it.

    Attributes:
        measurement: the measurement.
        note: why there are no metrics; empty if there are, or if none were wanted.
        first_answers: for each process, the first answer for each image, by the image's index in the plan.
    """

    measurement: Measurement
    note: str
    first_answers: list[dict[int, TopClass]] = field(default_factory=list)


def run_measurement(plan: Plan, progress: Progress, interrupts: Interrupts) -> MeasurementResult:
    """Runs one measurement. An interrupt ends it early; a second one cancels its calls in flight.

    Raises:
        LoadFailed: if a generator process failed or died.
    """
    with ProcessPool(plan) as processes, ThreadPoolExecutor(max_workers=1) as reader:
        running = _RunningMeasurement(plan, progress, interrupts, processes, reader)
        while not running.is_done:
            try:
                running.step()
            except KeyboardInterrupt:  # raised by the progress display, or where signal handlers are not allowed
                interrupts.count += 1
        return running.result()


class _RunningMeasurement:
    """A measurement as the parent process controls it; for one thread."""

    def __init__(
        self, plan: Plan, progress: Progress, interrupts: Interrupts, processes: ProcessPool, reader: ThreadPoolExecutor
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._interrupts = interrupts
        self._processes = processes
        self._metrics = _Metrics(plan, reader)
        self._statistics = Statistics(plan.duration_seconds)
        self._ready = 0
        self._start: float | None = None
        self._in_flight: dict[object, int] = {}
        self._finished: list[Finished] = []
        self._handled_interrupts = 0
        self._stopped_at: float | None = None
        self._cancelled_at: float | None = None
        self._progress_at = time.monotonic()
        self._progress_ended = 0

    @property
    def is_done(self) -> bool:
        """Whether every process has finished, or has had its time to cancel."""
        cancelled = self._cancelled_at is not None and time.monotonic() > self._cancelled_at + _CANCEL_TIMEOUT_SECONDS
        return self._processes.is_done or cancelled

    def step(self) -> None:
        """Processes messages of the processes and interrupts; reports progress."""
        for pipe, message in self._processes.receive(_RECEIVE_TIMEOUT_SECONDS):
            self._handle_message(pipe, message)
        self._handle_interrupts()
        self._metrics.update(self._elapsed())
        if self._start is not None and time.monotonic() >= self._progress_at + PROGRESS_INTERVAL_SECONDS:
            self._report_progress()

    def result(self) -> MeasurementResult:
        """Returns the complete measurement."""
        statistics = self._statistics
        server, note = self._metrics.view()
        measurement = Measurement(
            rate=self._plan.rate,
            concurrency=self._plan.concurrency,
            seconds=self._measured_seconds(),
            counts=statistics.counts(),
            latency=statistics.latency(),
            timeline=statistics.timeline(),
            server=server,
            tester=load_tester_view(self._plan, self._finished, statistics),
            interrupted=self._stopped_at is not None,
            failures=statistics.failures(),
            queue=self._queue(),
        )
        return MeasurementResult(measurement, note, [each.first_answers for each in self._finished])

    def _handle_message(self, pipe: object, message: object) -> None:
        if isinstance(message, Update):
            self._statistics.add(message.records)
            self._statistics.add_failures(message.failures)
            self._in_flight[pipe] = message.in_flight
        elif isinstance(message, Finished):
            self._finished.append(message)
        elif isinstance(message, Ready):
            self._ready += 1
            if self._ready == self._plan.process_count and self._stopped_at is None:
                self._start = self._processes.start()

    def _handle_interrupts(self) -> None:
        while self._handled_interrupts < self._interrupts.count:
            self._handled_interrupts += 1
            if self._stopped_at is None:
                self._stopped_at = time.monotonic()
                self._processes.stop()
            elif self._cancelled_at is None:
                self._cancelled_at = time.monotonic()
                self._processes.cancel_all()

    def _elapsed(self) -> float | None:
        return None if self._start is None else time.monotonic() - self._start

    def _measured_seconds(self) -> float:
        if self._stopped_at is None:
            return self._plan.duration_seconds
        if self._start is None:
            return 0.0
        return min(max(self._stopped_at - self._start, 0.0), self._plan.duration_seconds)

    def _queue(self) -> QueueTrend | None:
        seconds = self._measured_seconds()
        return self._statistics.queue(seconds) if self._plan.rate is not None and seconds > 0 else None

    def _report_progress(self) -> None:
        now = time.monotonic()
        ended, seconds = self._statistics.ended - self._progress_ended, now - self._progress_at
        self._progress_at, self._progress_ended = now, self._statistics.ended
        self._progress.update(self._snapshot(ended / seconds))

    def _snapshot(self, calls_per_second: float) -> Snapshot:
        counts, latencies = self._statistics.counts(), self._statistics.latencies
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
    """The server's metrics at the start of the measurement and at its end, read in another thread."""

    def __init__(self, plan: Plan, reader: ThreadPoolExecutor) -> None:
        self._plan = plan
        self._reader = reader
        self._url, self._problem = "", ""
        self._before: Future[Sample] | None = None
        try:
            self._url = metrics_url(plan)
        except MetricsUnreadable as error:
            self._problem = str(error)

    def update(self, elapsed_seconds: float | None) -> None:
        """Reads the metrics for the first time once the measurement has begun."""
        if self._url and self._before is None and elapsed_seconds is not None and elapsed_seconds >= 0:
            self._before = self._read()

    def view(self) -> tuple[ServerView | None, str]:
        """Returns the change since the start, or None with the reason; the reason is empty if none were wanted."""
        if self._before is None:
            return None, self._problem
        try:
            return server_view(self._before.result(), self._read().result()), ""
        except MetricsUnreadable as error:
            return None, str(error)

    def _read(self) -> "Future[Sample]":
        return self._reader.submit(read_sample, self._url, self._plan.model, self._plan.version)
