"""The tables of `load`. Results in, rich tables out; nothing here prints."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from linnaeus.client.load.report.comparison import Pair
from linnaeus.client.load.report.comparison_page import ratio_text, summary
from linnaeus.client.load.report.metrics import UNKNOWN, figures_of, load_of, shortened
from linnaeus.client.load.report.step_rows import HEADINGS, steps_of
from linnaeus.client.load.results import Run, Spell

_LATENCIES = ("p50", "p90", "p95", "p99", "p99.9", "max")


def spell_table(spell: Spell) -> Table:
    """A spell in a few rows: a subject each, its figures side by side."""
    table = _table(headed=False)
    for subject, words in _subjects(spell):
        table.add_row(subject, words)
    return table


def step_table(run: Run) -> Table:
    """One row a step, the knee or the found rate marked and in bold."""
    table = _table()
    for heading in HEADINGS:
        table.add_column(heading, justify="right", no_wrap=bool(heading))
    for step in steps_of(run):
        table.add_row(*step.cells, style="bold" if step.marked else None)
    return table


def comparison_table(pair: Pair) -> Table:
    """One row a figure: A, B and B by A."""
    table = _table()
    table.add_column(pair.load)
    for heading in ("unit", "A", "B", "B / A"):
        table.add_column(heading, justify="left" if heading == "unit" else "right", no_wrap=True)
    for row in pair.rows:
        table.add_row(row.name, row.unit, row.a.text, row.b.text, ratio_text(row.ratio))
    return table


def summary_table(pairs: Sequence[Pair]) -> Table:
    """One row a pair of steps, for what would be many tables."""
    headings, rows = summary(pairs)
    table = _table()
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _table(*, headed: bool = True) -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), show_header=headed)


def _subjects(spell: Spell) -> Iterator[tuple[str, str]]:
    known = {figure.name: figure for figure in figures_of(spell)}
    yield "load", f"{load_of(spell)} for {shortened(spell.seconds)} s"
    outcomes = ("sent", "ok", "late", "refused", "failed", "differed", "cancelled", "corrupt, refused as it should")
    figures = (known[name] for name in outcomes)
    yield "calls", "   ".join(f"{each.name} {each.text}" for each in figures if each.worth_a_row)
    codes = {code: count for code, count in sorted(spell.counts.by_code.items()) if code != "OK" and count}
    if codes:
        yield "by status", "   ".join(f"{code} {count:,}" for code, count in codes.items())
    yield "rate", f"{known['sent a second'].text} calls/s sent   {known['goodput'].text} calls/s ok (goodput)"
    yield "latency in ms", "   ".join(f"{name} {known[f'latency {name}'].text}" for name in _LATENCIES)
    yield from _server(spell)
    lag = known["tester: send lag p99"]
    words = f"busy {spell.tester.busy:.0%}"
    yield "tester", words if lag.value is None else f"{words}   sends late by {lag.text} ms (p99)"


def _server(spell: Spell) -> Iterator[tuple[str, str]]:
    view = spell.server
    if view is None:
        return
    stages = (f"{name} {shortened(1000 * mean)}" for name, mean in view.stage_seconds.items())
    yield "server, mean ms", "   ".join(stages) or UNKNOWN
    if view.mean_batch_size is not None:
        yield "mean batch size", f"{shortened(view.mean_batch_size)} images"
