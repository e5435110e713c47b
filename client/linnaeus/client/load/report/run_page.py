"""The HTML page about one run."""

from collections.abc import Iterator, Mapping

from linnaeus.client.load.report import html
from linnaeus.client.load.report.failures import failures_of, reset_sentence
from linnaeus.client.load.report.latency_plots import (
    batch_size_plot,
    latency_distribution,
    latency_over_time,
    throughput_over_time,
)
from linnaeus.client.load.report.metrics import (
    bottleneck_warnings,
    format_milliseconds,
    format_number,
    has_latency,
    latency_sentence,
    load_of,
    main_measurement,
    metrics_of,
    result_name,
    result_rate,
    result_sentence,
)
from linnaeus.client.load.report.options import displayed_options, format_option
from linnaeus.client.load.report.step_plots import p99_by_rate, throughput_by_rate
from linnaeus.client.load.report.step_rows import HEADINGS, step_rows
from linnaeus.client.load.report.svg_plots import SvgPlot
from linnaeus.client.load.results import Measurement, Run


def run_page(run: Run) -> str:
    """Returns one self-contained HTML page about a run."""
    return html.document(page_title(run), _body(run))


def page_title(run: Run) -> str:
    """Returns what was tested, in one line."""
    kind = {"ramp": "Ramp of", "search": "Search on"}.get(run.kind, "Load test of")
    model = run.options.get("model")
    return f"{kind} {run.options.get('target', 'a server')}{f', model {model}' if model else ''}"


def _body(run: Run) -> Iterator[str]:
    yield html.paragraph(f"{run.started_at} · {run.machine}", "soft")
    for sentence in bottleneck_warnings(run):
        yield html.paragraph(sentence, "warn")
    if any(each.interrupted for each in run.measurements):
        yield html.paragraph("The run was interrupted: this is what was measured until then.", "warn")
    for note in run.notes:
        yield html.paragraph(note)
    measurement = main_measurement(run)
    if measurement is None:
        yield html.paragraph("Nothing was measured.")
    else:
        yield from _results(run, measurement)
    yield html.heading("Options")
    options = [(name, format_option(value)) for name, value in displayed_options(run).items()]
    yield html.table((), options, kind="words")


def _failures(run: Run) -> Iterator[str]:
    failures = failures_of(run)
    if failures:
        yield html.heading("Why calls were not ok")
        yield html.paragraph(reset_sentence(run))
        rows = [(f"{each.calls:,}", f"{each.code}: {each.sentence}") for each in failures]
        yield html.table(("calls", "why, for example"), rows, kind="words")


def _results(run: Run, measurement: Measurement) -> Iterator[str]:
    several = run.kind != "single"
    yield html.paragraph(result_sentence(run))
    yield html.tiles(_tiles(run, measurement))
    yield html.paragraph(latency_sentence(measurement), "soft")
    yield from _failures(run)
    if several:
        rows = step_rows(run)
        yield html.heading("Steps")
        yield html.table(HEADINGS, [row.cells for row in rows], [row.marked for row in rows], "dense")
        yield html.plots((throughput_by_rate({"served": run}), p99_by_rate({"p99": run})))
    load = load_of(measurement)
    yield html.heading(f"At {load}" if several else f"{load}, {format_number(measurement.seconds)} s")
    yield html.plots(_plots(measurement))
    yield html.heading("Figures")
    yield html.columns(_metric_tables(measurement))


def _tiles(run: Run, measurement: Measurement) -> Mapping[str, str]:
    counts, latency = measurement.counts, measurement.latency
    is_known = has_latency(measurement)
    rate = result_rate(run)
    result = {} if rate is None else {f"{result_name(run)}, calls/s": format_number(rate)}
    return result | {
        "goodput, calls/s": format_number(measurement.goodput),
        "p50, ms": format_milliseconds(latency.p50 if is_known else None),
        "p99, ms": format_milliseconds(latency.p99 if is_known else None),
        "longest, ms": format_milliseconds(latency.max if is_known else None),
        "calls sent": f"{counts.sent:,}",
        "late": f"{counts.late:,}",
        "refused": f"{counts.refused:,}",
        "failed or differed": f"{counts.failed + counts.differed:,}",
    }


def _plots(measurement: Measurement) -> Iterator[SvgPlot]:
    if has_latency(measurement):
        yield latency_distribution(measurement)
    if any(second.max is not None for second in measurement.timeline):
        yield latency_over_time(measurement.timeline, measurement.queue.steady_after if measurement.queue else None)
    if measurement.timeline:
        yield throughput_over_time(measurement.timeline)
    if measurement.server and any(measurement.server.batch_sizes.values()):
        yield batch_size_plot(measurement.server.batch_sizes)


def _metric_tables(measurement: Measurement) -> Iterator[str]:
    rows = [(metric.name, metric.text, metric.unit) for metric in metrics_of(measurement) if metric.is_shown]
    half = (len(rows) + 1) // 2
    yield html.table((), rows[:half])
    yield html.table((), rows[half:])
