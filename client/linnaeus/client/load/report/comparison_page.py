"""The HTML page that compares two runs."""

from collections.abc import Iterator, Sequence

from linnaeus.client.load.report import html
from linnaeus.client.load.report.comparison import SUMMARY, Pair, differing_options, main_pair, matching_pairs
from linnaeus.client.load.report.latency_plots import distribution_plot
from linnaeus.client.load.report.metrics import (
    UNKNOWN,
    bottleneck_warnings,
    has_latency,
    latency_sentence,
    result_sentence,
)
from linnaeus.client.load.report.options import format_option
from linnaeus.client.load.report.percentile_curve import percentile_curve
from linnaeus.client.load.report.step_plots import p99_by_rate, throughput_by_rate
from linnaeus.client.load.report.svg_plots import SvgPlot
from linnaeus.client.load.results import Run


def comparison_page(a: Run, b: Run, names: tuple[str, str]) -> str:
    """Returns one self-contained HTML page about two runs.

    Args:
        a: the first run, the base of all ratios.
        b: the second run.
        names: the files of the runs.

    Raises:
        ValueError: if they cannot be compared. The message says why.
    """
    return html.document(f"{names[0]} and {names[1]}", _body(a, b, matching_pairs(a, b), names))


def summary(pairs: Sequence[Pair]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Returns headings, and one row a pair with A, B and their ratio for the most important metrics."""
    headings = ["", *(f"{name} {part}" for name in SUMMARY for part in ("A", "B", "B / A"))]
    table = []
    for pair in pairs:
        rows = [pair.row(name) for name in SUMMARY]
        table.append([pair.load, *(cell for row in rows for cell in (row.a.text, row.b.text, format_ratio(row.ratio)))])
    return [heading.removeprefix("latency ") for heading in headings], table


def format_ratio(ratio: float | None) -> str:
    """Formats B divided by A, with two decimals."""
    return UNKNOWN if ratio is None else f"{ratio:.2f}"


def _body(a: Run, b: Run, pairs: tuple[Pair, ...], names: tuple[str, str]) -> Iterator[str]:
    for letter, run, name in (("A", a, names[0]), ("B", b, names[1])):
        yield html.paragraph(f"{letter}: {name} · {run.started_at} · {run.machine}", "soft")
        yield html.paragraph(f"{letter}: {result_sentence(run)}" if result_sentence(run) else "")
        for sentence in bottleneck_warnings(run):
            yield html.paragraph(f"{letter}: {sentence}", "warn")
    yield html.paragraph(latency_sentence(pairs[0].a), "soft")
    yield html.plots(_plots(a, b, main_pair(pairs, a, b)))
    yield html.heading("Options that differ")
    rows = [(each.name, format_option(each.a), format_option(each.b)) for each in differing_options(a, b)]
    yield html.table(("", "A", "B"), rows, kind="words") if rows else html.paragraph("None.")
    if len(pairs) > 1:
        yield html.heading("Steps of equal rate: goodput in calls/s, latency in ms")
        headings, summary_rows = summary(pairs)
        yield html.table(headings, summary_rows, kind="dense")
    for pair in pairs:
        yield html.heading(pair.load)
        cells = [(row.name, row.unit, row.a.text, row.b.text, format_ratio(row.ratio)) for row in pair.rows]
        yield html.table(("", "", "A", "B", "B / A"), cells)


def _plots(a: Run, b: Run, pair: Pair) -> Iterator[SvgPlot]:
    if has_latency(pair.a) and has_latency(pair.b):
        curves = {letter: percentile_curve(each.latency.histogram) for letter, each in (("A", pair.a), ("B", pair.b))}
        yield distribution_plot("latency-distribution", curves, f"Latency distribution, {pair.load}")
    if a.kind == b.kind == "ramp":
        yield throughput_by_rate({"A": a, "B": b})
        yield p99_by_rate({"A": a, "B": b})
