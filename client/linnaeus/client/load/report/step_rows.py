"""The steps of a ramp or a search as rows of words, the knee or the found rate marked.

It must not know how rows are laid out.
"""

from dataclasses import dataclass

from linnaeus.client.load.report.metrics import (
    UNKNOWN,
    answered,
    chosen_rate,
    featured,
    milliseconds,
    name_of_choice,
    shortened,
)
from linnaeus.client.load.results import Run, Spell

# `batch` is the server's mean batch size in images, `busy` the share of the time in which the tester was at work.
HEADINGS = (
    *("calls/s", "", "sent", "ok", "late", "refused", "failed", "goodput/s"),
    *("p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "batch", "busy"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One row.

    Attributes:
        cells: as many as `HEADINGS`.
        marked: whether it is the knee or the found rate.
    """

    cells: tuple[str, ...]
    marked: bool


def steps_of(run: Run) -> tuple[Step, ...]:
    """One row a spell, in the order they ran."""
    chosen = featured(run) if chosen_rate(run) is not None else None
    return tuple(_step(spell, name_of_choice(run) if spell is chosen else "") for spell in run.spells)


def _step(spell: Spell, mark: str) -> Step:
    counts = spell.counts
    outcomes = (counts.sent, counts.ok, counts.late, counts.refused, counts.failed + counts.differed)
    batch = spell.server.mean_batch_size if spell.server else None
    cells = (
        shortened(spell.offered if spell.rate is None else spell.rate),
        ", ".join(filter(None, (mark, "tester's limit" if spell.tester.was_the_limit else ""))),
        *(f"{count:,}" for count in outcomes),
        shortened(spell.goodput),
        *_latencies(spell),
        UNKNOWN if batch is None else shortened(batch),
        f"{spell.tester.busy:.0%}",
    )
    return Step(cells, bool(mark))


def _latencies(spell: Spell) -> tuple[str, ...]:
    latency = spell.latency
    if not answered(spell):
        return (UNKNOWN,) * 5
    values = (latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max)
    return tuple(milliseconds(value) for value in values)
