"""The metrics of a measurement as names, values and units, and the result of a run in sentences.

Used by the terminal, the HTML page and the comparison alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from linnaeus.client.load.measurement.served import shortfall
from linnaeus.client.load.results import Latency, Measurement, Run

Unit = Literal["calls", "calls/s", "ms", "s", "images", "cores", "%"]
STAGES = ("decode", "queue", "inference", "respond")
UNKNOWN = "–"
PERCENTILES = (("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99"), ("p99.9", "p99_9"), ("max", "max"))
# Omitted from tables if they are 0, as they nearly always are.
_RARE = frozenset({"differed", "cancelled", "corrupt, refused as it should"})


@dataclass(frozen=True, slots=True)
class Metric:
    """A value with its name.

    Attributes:
        name: as it is shown.
        value: in `unit`; None if it is unknown.
        unit: what the value counts.
    """

    name: str
    value: float | None
    unit: Unit

    @property
    def text(self) -> str:
        """The formatted value without its unit."""
        if self.value is None:
            return UNKNOWN
        return f"{self.value:,.0f}" if self.unit == "calls" else format_number(self.value)

    @property
    def is_shown(self) -> bool:
        """Whether the table of a run has a row for it."""
        return self.value is not None and not (self.name in _RARE and self.value == 0)


def format_number(value: float) -> str:
    """Formats a number with three significant digits, and with every digit before the decimal point."""
    decimals = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:,.{decimals}f}"


def format_milliseconds(seconds: float | None) -> str:
    """Formats seconds as milliseconds, without the unit."""
    return Metric("", None if seconds is None else seconds * 1000, "ms").text


def metrics_of(measurement: Measurement) -> tuple[Metric, ...]:
    """Returns all metrics of a measurement in the order in which they are shown."""
    return (
        *_counts(measurement),
        *_rates(measurement),
        *_latencies(measurement),
        *_queue(measurement),
        *_server(measurement),
        *_tester(measurement),
    )


def result_rate(run: Run) -> float | None:
    """Returns the rate that a ramp or a search found; None if there is none."""
    return run.found_rate if run.kind == "search" else run.knee


def result_name(run: Run) -> str:
    """Returns the name of the rate that `result_rate` returns."""
    if run.kind == "search":
        return "found"
    return "knee above" if _is_knee_above(run) else "knee"


def _is_knee_above(run: Run) -> bool:
    return run.knee is not None and run.knee == max(each.rate or 0.0 for each in run.measurements)


def main_measurement(run: Run) -> Measurement | None:
    """Returns the measurement at the knee or at the found rate, or else the first one."""
    rate = result_rate(run)
    matching = [each for each in run.measurements if rate is not None and each.rate == rate]
    return matching[-1] if matching else next(iter(run.measurements), None)


def load_of(measurement: Measurement) -> str:
    """Describes the load of a measurement: `400 calls/s` or `16 callers`."""
    return format_load(measurement.rate, measurement.concurrency)


def format_load(rate: float | None, concurrency: int | None) -> str:
    """Formats the rate of an open loop, or the number of callers of a closed loop."""
    if rate is not None:
        return f"{format_number(rate)} calls/s"
    return f"{concurrency} caller{'s' if concurrency != 1 else ''}"


def result_sentence(run: Run) -> str:
    """Returns what a ramp or a search found, in one sentence; empty for a single measurement."""
    if run.kind == "ramp":
        if run.knee is None:
            return f"Even the lowest rate was not served in full{_why_not(run)}: there is no knee, start lower."
        if _is_knee_above(run):
            return f"Every rate was served in full: the knee lies above {format_number(run.knee)} calls/s."
        served = f"{format_number(run.knee)} calls/s is the highest rate that was still served in full"
        return f"The knee: {served}{_between(run)}."
    if run.kind == "search":
        if run.found_rate is None:
            return f"No rate that was tried met {run.objective}."
        return f"{format_number(run.found_rate)} calls/s is the highest rate found that met {run.objective}."
    return ""


def _why_not(run: Run) -> str:
    lowest = min(run.measurements, key=lambda each: each.rate or 0.0, default=None)
    reason = "" if lowest is None else shortfall(lowest)
    return f" ({reason})" if reason else ""


def _between(run: Run) -> str:
    """Says what happened at the next rate, and where between the two the knee lies."""
    failing = [each for each in run.measurements if run.knee_below is not None and each.rate == run.knee_below]
    if not failing:
        return ""
    about = "" if run.knee_estimate is None else f", at about {format_number(run.knee_estimate)}"
    return f"; at {load_of(failing[0])} {shortfall(failing[0])}. It lies between them{about}"


def bottleneck_warnings(run: Run) -> tuple[str, ...]:
    """Returns a sentence for each measurement of which the load tester was the bottleneck."""
    several = len(run.measurements) > 1
    return tuple(
        f"The tester was the limit{f' at {load_of(each)}' if several else ''}: {each.tester.reason}"
        for each in run.measurements
        if each.tester.was_the_limit
    )


def latency_sentence(measurement: Measurement) -> str:
    """Explains how the latency was measured."""
    if measurement.rate is not None:
        return (
            "Latency counts from the moment a call was meant to be sent, whether or not it could be sent then, to its "
            "answer: time spent waiting because earlier calls were slow is included."
        )
    return (
        "Latency counts from the moment a caller was free to send until its answer. These callers wait for the server: "
        "while it stalls they send nothing, so a stall touches few calls. --rate shows what independent users feel."
    )


def has_latency(measurement: Measurement) -> bool:
    """Returns whether any call was answered in time."""
    return measurement.counts.ok + measurement.counts.differed > 0


def _counts(measurement: Measurement) -> Iterator[Metric]:
    counts = measurement.counts
    for name in ("sent", "ok", "late", "refused", "failed", "differed", "cancelled"):
        yield Metric(name, getattr(counts, name), "calls")
    yield Metric("corrupt, refused as it should", counts.corrupt, "calls")
    for code in sorted(counts.by_code):
        if code != "OK" and counts.by_code[code]:
            yield Metric(f"status {code}", counts.by_code[code], "calls")


def _rates(measurement: Measurement) -> Iterator[Metric]:
    yield Metric("sent a second", measurement.offered, "calls/s")
    yield Metric("goodput", measurement.goodput, "calls/s")


def _queue(measurement: Measurement) -> Iterator[Metric]:
    queue = measurement.queue
    yield Metric("in flight at the start", queue.in_flight_at_start if queue else None, "calls")
    yield Metric("in flight at the end", queue.in_flight_at_end if queue else None, "calls")
    yield Metric("latency gained a second", queue.drift * 1000 if queue else None, "ms")
    yield Metric("latency steady after", queue.steady_after if queue else None, "s")


def _latencies(measurement: Measurement) -> Iterator[Metric]:
    is_known = has_latency(measurement)
    for name, field in (("mean", "mean"), *PERCENTILES):
        yield Metric(f"latency {name}", _milliseconds(measurement.latency, field) if is_known else None, "ms")


def _milliseconds(latency: Latency, field: str) -> float:
    return float(getattr(latency, field)) * 1000


def _server(measurement: Measurement) -> Iterator[Metric]:
    view = measurement.server
    for stage in STAGES:
        seconds = view.stage_seconds.get(stage) if view else None
        yield Metric(f"server: {stage}, mean", None if seconds is None else seconds * 1000, "ms")
    yield Metric("server: batch size, mean", view.mean_batch_size if view else None, "images")
    processor_seconds = view.processor_seconds if view else None
    cores = None if processor_seconds is None or not measurement.seconds else processor_seconds / measurement.seconds
    yield Metric("server: processor", cores, "cores")


def _tester(measurement: Measurement) -> Iterator[Metric]:
    yield Metric("tester: busy", measurement.tester.busy * 100, "%")
    lag = measurement.tester.send_lag_p99 * 1000 if measurement.rate is not None else None
    yield Metric("tester: send lag p99", lag, "ms")
