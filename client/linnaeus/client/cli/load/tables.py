"""The tables of `load`: results in, rich tables out."""

from collections.abc import Callable, Collection, Iterator, Sequence

from rich.table import Table

from linnaeus.client.cli.output import plain_table, printable
from linnaeus.client.load.report.comparison import Pair
from linnaeus.client.load.report.comparison_page import format_ratio, summary
from linnaeus.client.load.report.failures import failures_of
from linnaeus.client.load.report.metrics import UNKNOWN, format_number, load_of, metrics_of
from linnaeus.client.load.report.step_rows import HEADINGS, SEPARATOR, step_rows
from linnaeus.client.load.results import Measurement, QueueTrend, Run

_LEAST_IMPORTANT_FIRST = ("p99.9 ms", "batch", "busy", "p90 ms", "ok", "max ms", "sent", "late", "failed", "refused")
_LATENCIES = ("p50", "p90", "p95", "p99", "p99.9", "max")


def measurement_table(measurement: Measurement) -> Table:
    """Returns a table with one row a subject, which holds several metrics."""
    table = plain_table(with_header=False)
    for subject, text in _subjects(measurement):
        table.add_row(subject, text)
    return table


def step_table(run: Run, fits: Callable[[Table], bool] = lambda table: True) -> tuple[Table, Sequence[str]]:
    """Returns a table with one row a step; the knee or the found rate is marked and bold.

    Args:
        run: with several measurements.
        fits: whether there is room for a table. If not, columns are left out, those that matter least first.

    Returns:
        The table, and the headings that were left out, in the order of the columns.
    """
    for count in range(len(_LEAST_IMPORTANT_FIRST) + 1):
        left_out = frozenset(_LEAST_IMPORTANT_FIRST[:count])
        table = _step_table(run, left_out)
        if fits(table):
            break
    return table, [heading for heading in HEADINGS if heading in left_out]


def _step_table(run: Run, left_out: Collection[str]) -> Table:
    table = plain_table()
    shown = [index for index, heading in enumerate(HEADINGS) if heading not in left_out]
    for index in shown:
        table.add_column(HEADINGS[index], justify="right", no_wrap=True)
    for row in step_rows(run):
        # Remarks stand below each other, which leaves room for figures.
        cells = (row.cells[index].replace(SEPARATOR, "\n") for index in shown)
        table.add_row(*cells, style="bold" if row.marked else None)
    return table


def failure_table(run: Run) -> Table:
    """Returns a table with one row a reason for which calls were not ok."""
    table = plain_table()
    table.add_column("calls not ok", justify="right", no_wrap=True)
    table.add_column("code", no_wrap=True)
    table.add_column("for example", overflow="fold")
    for each in failures_of(run):
        table.add_row(f"{each.calls:,}", each.code, printable(each.sentence))
    return table


def comparison_table(pair: Pair) -> Table:
    """Returns a table with one row a metric: A, B and their ratio."""
    table = plain_table()
    table.add_column(pair.load)
    for heading in ("unit", "A", "B", "B / A"):
        table.add_column(heading, justify="left" if heading == "unit" else "right", no_wrap=True)
    for row in pair.rows:
        table.add_row(row.name, row.unit, row.a.text, row.b.text, format_ratio(row.ratio))
    return table


def summary_table(pairs: Sequence[Pair]) -> Table:
    """Returns a table with one row a pair of steps, instead of one table a pair."""
    headings, rows = summary(pairs)
    table = plain_table()
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _subjects(measurement: Measurement) -> Iterator[tuple[str, str]]:
    metrics = {metric.name: metric for metric in metrics_of(measurement)}
    yield "load", f"{load_of(measurement)} for {format_number(measurement.seconds)} s"
    names = ("sent", "ok", "late", "refused", "failed", "differed", "cancelled", "corrupt, refused as it should")
    outcomes = (metrics[name] for name in names)
    yield "calls", "   ".join(f"{each.name} {each.text}" for each in outcomes if each.is_shown)
    sent, goodput = metrics["sent a second"], metrics["goodput"]
    yield "rate", f"{sent.text} calls/s sent   {goodput.text} calls/s ok (goodput)"
    yield "latency in ms", "   ".join(f"{name} {metrics[f'latency {name}'].text}" for name in _LATENCIES)
    if measurement.queue is not None:
        yield "queue", _queue(measurement.queue)
    yield from _server(measurement)
    lag = metrics["tester: send lag p99"]
    busy = f"busy {measurement.tester.busy:.0%}"
    yield "tester", busy if lag.value is None else f"{busy}   sends late by {lag.text} ms (p99)"


def _queue(queue: QueueTrend) -> str:
    in_flight = f"in flight {queue.in_flight_at_start:,} at the start, {queue.in_flight_at_end:,} at the end"
    if queue.grows:
        return f"grows: {in_flight}; latency gains {format_number(1000 * queue.drift)} ms a second"
    if queue.steady_after is None:
        return in_flight
    return f"steady{f' after {queue.steady_after:.1f} s' if queue.steady_after else ''}: {in_flight}"


def _server(measurement: Measurement) -> Iterator[tuple[str, str]]:
    view = measurement.server
    if view is None:
        return
    stages = (f"{name} {format_number(1000 * mean)}" for name, mean in view.stage_seconds.items())
    yield "server, mean ms", "   ".join(stages) or UNKNOWN
    if view.mean_batch_size is not None:
        yield "mean batch size", f"{format_number(view.mean_batch_size)} images"
