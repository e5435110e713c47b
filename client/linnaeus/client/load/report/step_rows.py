"""The steps of a ramp or a search as rows of text; the step at the knee or at the found rate is marked."""

from collections.abc import Iterator
from dataclasses import dataclass

from linnaeus.client.load.report.metrics import (
    UNKNOWN,
    format_milliseconds,
    format_number,
    has_latency,
    main_measurement,
    result_name,
    result_rate,
)
from linnaeus.client.load.results import Measurement, Run

# `batch` is the server's mean batch size in images, `busy` the share of the time in which the load tester was busy.
SEPARATOR = ", "
HEADINGS = (
    *("calls/s", "", "sent", "ok", "late", "refused", "failed", "goodput/s"),
    *("p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "batch", "busy"),
)


@dataclass(frozen=True, slots=True)
class StepRow:
    """One row.

    Attributes:
        cells: as many as `HEADINGS`.
        marked: whether it is the knee or the found rate.
    """

    cells: tuple[str, ...]
    marked: bool


def step_rows(run: Run) -> tuple[StepRow, ...]:
    """Returns one row a measurement, in the order in which they ran."""
    found = main_measurement(run) if result_rate(run) is not None else None
    return tuple(_row(each, result_name(run) if each is found else "") for each in run.measurements)


def _row(measurement: Measurement, mark: str) -> StepRow:
    counts = measurement.counts
    outcomes = (counts.sent, counts.ok, counts.late, counts.refused, counts.failed + counts.differed)
    batch_size = measurement.server.mean_batch_size if measurement.server else None
    cells = (
        format_number(measurement.offered if measurement.rate is None else measurement.rate),
        SEPARATOR.join(filter(None, (mark, *_remarks(measurement)))),
        *(f"{count:,}" for count in outcomes),
        format_number(measurement.goodput),
        *_latencies(measurement),
        UNKNOWN if batch_size is None else format_number(batch_size),
        f"{measurement.tester.busy:.0%}",
    )
    return StepRow(cells, bool(mark))


def _remarks(measurement: Measurement) -> Iterator[str]:
    if measurement.queue is not None and measurement.queue.grows:
        yield "queue grows"
    if measurement.tester.was_the_limit:
        yield "tester's limit"


def _latencies(measurement: Measurement) -> tuple[str, ...]:
    latency = measurement.latency
    if not has_latency(measurement):
        return (UNKNOWN,) * 5
    values = (latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max)
    return tuple(format_milliseconds(value) for value in values)
