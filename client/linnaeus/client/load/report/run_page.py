"""The page about one run.

It must not know where the page is written to.
"""

from collections.abc import Iterator, Mapping

from linnaeus.client.load.report import html as document
from linnaeus.client.load.report.latency_plots import (
    batch_sizes,
    latency_distribution,
    latency_over_time,
    throughput_over_time,
)
from linnaeus.client.load.report.metrics import (
    answered,
    chosen_rate,
    featured,
    figures_of,
    latency_sentence,
    limited_by_tester,
    load_of,
    milliseconds,
    name_of_choice,
    shortened,
    verdict,
)
from linnaeus.client.load.report.options import plain, told_options
from linnaeus.client.load.report.step_plots import tail_by_rate, throughput_by_rate
from linnaeus.client.load.report.step_rows import HEADINGS, steps_of
from linnaeus.client.load.report.svg_plots import Drawing
from linnaeus.client.load.results import Run, Spell


def page(run: Run) -> str:
    """One self-contained HTML page about a run."""
    return document.document(title_of(run), _body(run))


def title_of(run: Run) -> str:
    """What was tested, in one line."""
    kind = {"ramp": "Ramp of", "search": "Search on"}.get(run.kind, "Load test of")
    model = run.options.get("model")
    return f"{kind} {run.options.get('target', 'a server')}{f', model {model}' if model else ''}"


def _body(run: Run) -> Iterator[str]:
    yield document.paragraph(f"{run.started_at} · {run.machine}", "soft")
    for sentence in limited_by_tester(run):
        yield document.paragraph(sentence, "warn")
    if any(spell.interrupted for spell in run.spells):
        yield document.paragraph("The run was interrupted: this is what was measured until then.", "warn")
    for note in run.notes:
        yield document.paragraph(note)
    spell = featured(run)
    if spell is None:
        yield document.paragraph("Nothing was measured.")
    else:
        yield from _about(run, spell)
    yield document.heading("Options")
    yield document.table((), [(name, plain(value)) for name, value in told_options(run).items()], kind="words")


def _about(run: Run, spell: Spell) -> Iterator[str]:
    several = run.kind != "single"
    yield document.paragraph(verdict(run))
    yield document.tiles(_headline(run, spell))
    yield document.paragraph(latency_sentence(spell), "soft")
    if several:
        steps = steps_of(run)
        yield document.heading("Steps")
        yield document.table(HEADINGS, [step.cells for step in steps], [step.marked for step in steps], "dense")
        yield document.plots((throughput_by_rate({"served": run}), tail_by_rate({"p99": run})))
    yield document.heading(f"At {load_of(spell)}" if several else f"{load_of(spell)}, {shortened(spell.seconds)} s")
    yield document.plots(_drawings(spell))
    yield document.heading("Figures")
    yield document.columns(_figure_tables(spell))


def _headline(run: Run, spell: Spell) -> Mapping[str, str]:
    counts, latency = spell.counts, spell.latency
    known = answered(spell)
    found = chosen_rate(run)
    chosen = {} if found is None else {f"{name_of_choice(run)}, calls/s": shortened(found)}
    return chosen | {
        "goodput, calls/s": shortened(spell.goodput),
        "p50, ms": milliseconds(latency.p50 if known else None),
        "p99, ms": milliseconds(latency.p99 if known else None),
        "longest, ms": milliseconds(latency.max if known else None),
        "calls sent": f"{counts.sent:,}",
        "late": f"{counts.late:,}",
        "refused": f"{counts.refused:,}",
        "failed or differed": f"{counts.failed + counts.differed:,}",
    }


def _drawings(spell: Spell) -> Iterator[Drawing]:
    if answered(spell):
        yield latency_distribution(spell)
    if any(second.max is not None for second in spell.timeline):
        yield latency_over_time(spell.timeline)
    if spell.timeline:
        yield throughput_over_time(spell.timeline)
    if spell.server and any(spell.server.batch_sizes.values()):
        yield batch_sizes(spell.server.batch_sizes)


def _figure_tables(spell: Spell) -> Iterator[str]:
    rows = [(figure.name, figure.text, figure.unit) for figure in figures_of(spell) if figure.worth_a_row]
    half = (len(rows) + 1) // 2
    yield document.table((), rows[:half])
    yield document.table((), rows[half:])
