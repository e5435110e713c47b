"""The page that sets two runs side by side.

It must not know where the page is written to.
"""

from collections.abc import Iterator, Sequence

from linnaeus.client.load.report import html as document
from linnaeus.client.load.report.comparison import SUMMARY, Pair, differing_options, pairs_of, speaking
from linnaeus.client.load.report.latency_plots import distribution
from linnaeus.client.load.report.metrics import UNKNOWN, answered, latency_sentence, limited_by_tester, verdict
from linnaeus.client.load.report.options import plain
from linnaeus.client.load.report.percentile_curve import percentile_curve
from linnaeus.client.load.report.step_plots import tail_by_rate, throughput_by_rate
from linnaeus.client.load.report.svg_plots import Drawing
from linnaeus.client.load.results import Run


def comparison_page(a: Run, b: Run, names: tuple[str, str]) -> str:
    """One self-contained HTML page about two runs.

    Args:
        a: the first run, to which the second is set in relation.
        b: the second.
        names: where they came from.

    Raises:
        ValueError: they cannot be compared; says why.
    """
    return document.document(f"{names[0]} and {names[1]}", _body(a, b, pairs_of(a, b), names))


def summary(pairs: Sequence[Pair]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Many pairs at a glance: the headings, and a row a pair with A, B and B by A of the figures that matter most."""
    headings = ["", *(f"{name} {part}" for name in SUMMARY for part in ("A", "B", "B / A"))]
    rows = []
    for pair in pairs:
        figures = [pair.row(name) for name in SUMMARY]
        rows.append([pair.load, *(cell for row in figures for cell in (row.a.text, row.b.text, ratio_text(row.ratio)))])
    return [heading.removeprefix("latency ") for heading in headings], rows


def ratio_text(ratio: float | None) -> str:
    """B by A, with two digits after the point."""
    return UNKNOWN if ratio is None else f"{ratio:.2f}"


def _body(a: Run, b: Run, pairs: tuple[Pair, ...], names: tuple[str, str]) -> Iterator[str]:
    for letter, run, name in (("A", a, names[0]), ("B", b, names[1])):
        yield document.paragraph(f"{letter}: {name} · {run.started_at} · {run.machine}", "soft")
        yield document.paragraph(f"{letter}: {verdict(run)}" if verdict(run) else "")
        for sentence in limited_by_tester(run):
            yield document.paragraph(f"{letter}: {sentence}", "warn")
    yield document.paragraph(latency_sentence(pairs[0].a), "soft")
    yield document.plots(_drawings(a, b, speaking(pairs, a, b)))
    yield document.heading("Options that differ")
    rows = [(each.name, plain(each.a), plain(each.b)) for each in differing_options(a, b)]
    yield document.table(("", "A", "B"), rows, kind="words") if rows else document.paragraph("None.")
    if len(pairs) > 1:
        yield document.heading("Steps of equal rate: goodput in calls/s, latency in ms")
        headings, summed = summary(pairs)
        yield document.table(headings, summed, kind="dense")
    for pair in pairs:
        yield document.heading(pair.load)
        cells = [(row.name, row.unit, row.a.text, row.b.text, ratio_text(row.ratio)) for row in pair.rows]
        yield document.table(("", "", "A", "B", "B / A"), cells)


def _drawings(a: Run, b: Run, pair: Pair) -> Iterator[Drawing]:
    if answered(pair.a) and answered(pair.b):
        curves = {letter: percentile_curve(spell.latency.histogram) for letter, spell in (("A", pair.a), ("B", pair.b))}
        yield distribution("latency-distribution", curves, f"Latency distribution, {pair.load}")
    if a.kind == b.kind == "ramp":
        yield throughput_by_rate({"A": a, "B": b})
        yield tail_by_rate({"A": a, "B": b})
