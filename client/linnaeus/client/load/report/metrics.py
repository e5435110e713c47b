"""What is told of a spell, figure by figure, for the terminal, the page and the comparison alike.

It must not know how figures are laid out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from linnaeus.client.load.results import Latency, Run, Spell

Unit = Literal["calls", "calls/s", "ms", "images", "cores", "%"]
STAGES = ("decode", "queue", "inference", "respond")
UNKNOWN = "–"
PERCENTILES = (("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99"), ("p99.9", "p99_9"), ("max", "max"))
# Left out of tables where they are 0, which is nearly always.
_RARE = frozenset({"differed", "cancelled", "corrupt, refused as it should"})


@dataclass(frozen=True, slots=True)
class Figure:
    """One value with its name.

    Attributes:
        name: in words.
        value: in `unit`; None where it is not known.
        unit: what the value counts.
    """

    name: str
    value: float | None
    unit: Unit

    @property
    def text(self) -> str:
        """The value as people read it, without the unit."""
        if self.value is None:
            return UNKNOWN
        return f"{self.value:,.0f}" if self.unit == "calls" else shortened(self.value)

    @property
    def worth_a_row(self) -> bool:
        """Whether a table of one run is better with it."""
        return self.value is not None and not (self.name in _RARE and self.value == 0)


def shortened(value: float) -> str:
    """Three significant digits, but every digit before the point."""
    decimals = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:,.{decimals}f}"


def milliseconds(seconds: float | None) -> str:
    """Milliseconds as people read them, without the unit."""
    return Figure("", None if seconds is None else seconds * 1000, "ms").text


def figures_of(spell: Spell) -> tuple[Figure, ...]:
    """Everything that is told of one spell, in the order it is read."""
    return (*_outcomes(spell), *_rates(spell), *_latencies(spell), *_server(spell), *_tester(spell))


def chosen_rate(run: Run) -> float | None:
    """The rate that a ramp or a search found; None where there is none."""
    return run.found_rate if run.kind == "search" else run.knee


def name_of_choice(run: Run) -> str:
    """What the chosen rate is, in a word or two."""
    if run.kind == "search":
        return "found"
    return "knee above" if _knee_is_above(run) else "knee"


def _knee_is_above(run: Run) -> bool:
    return run.knee is not None and run.knee == max(spell.rate or 0.0 for spell in run.spells)


def featured(run: Run) -> Spell | None:
    """The spell that speaks for the run: the only one, the one at the knee or at the found rate, else the first."""
    chosen = chosen_rate(run)
    matching = [spell for spell in run.spells if chosen is not None and spell.rate == chosen]
    return matching[-1] if matching else next(iter(run.spells), None)


def load_of(spell: Spell) -> str:
    """The load in words: `400 calls/s` or `16 callers`."""
    return load_in_words(spell.rate, spell.concurrency)


def load_in_words(rate: float | None, concurrency: int | None) -> str:
    """An open loop's rate in calls a second, or how many callers a closed loop has."""
    if rate is not None:
        return f"{shortened(rate)} calls/s"
    return f"{concurrency} caller{'s' if concurrency != 1 else ''}"


def verdict(run: Run) -> str:
    """What a ramp or a search found, in one sentence; empty for a single spell."""
    if run.kind == "ramp":
        if run.knee is None:
            return "Even the lowest rate was not served in full: there is no knee, start lower."
        if _knee_is_above(run):
            return f"Every rate was served in full: the knee lies above {shortened(run.knee)} calls/s."
        return f"The knee: {shortened(run.knee)} calls/s is the highest rate that was still served in full."
    if run.kind == "search":
        if run.found_rate is None:
            return f"No rate that was tried met {run.objective}."
        return f"{shortened(run.found_rate)} calls/s is the highest rate found that met {run.objective}."
    return ""


def limited_by_tester(run: Run) -> tuple[str, ...]:
    """A sentence for each spell that the tester, not the server, bounded."""
    several = len(run.spells) > 1
    return tuple(
        f"The tester was the limit{f' at {load_of(spell)}' if several else ''}: {spell.tester.reason}"
        for spell in run.spells
        if spell.tester.was_the_limit
    )


def latency_sentence(spell: Spell) -> str:
    """How this spell's latency was measured."""
    if spell.rate is not None:
        return (
            "Latency counts from the moment a call was meant to be sent, whether or not it could be sent then, to its "
            "answer: time spent waiting because earlier calls were slow is included."
        )
    return (
        "Latency counts from the moment a caller was free to send until its answer. These callers wait for the server: "
        "while it stalls they send nothing, so a stall touches few calls. --rate shows what independent users feel."
    )


def answered(spell: Spell) -> bool:
    """Whether there is any latency to tell of."""
    return spell.counts.ok + spell.counts.differed > 0


def _outcomes(spell: Spell) -> Iterator[Figure]:
    counts = spell.counts
    for name in ("sent", "ok", "late", "refused", "failed", "differed", "cancelled"):
        yield Figure(name, getattr(counts, name), "calls")
    yield Figure("corrupt, refused as it should", counts.corrupt, "calls")
    for code in sorted(counts.by_code):
        if code != "OK" and counts.by_code[code]:
            yield Figure(f"status {code}", counts.by_code[code], "calls")


def _rates(spell: Spell) -> Iterator[Figure]:
    yield Figure("sent a second", spell.offered, "calls/s")
    yield Figure("goodput", spell.goodput, "calls/s")


def _latencies(spell: Spell) -> Iterator[Figure]:
    known = answered(spell)
    for name, field in (("mean", "mean"), *PERCENTILES):
        yield Figure(f"latency {name}", _of(spell.latency, field) if known else None, "ms")


def _of(latency: Latency, field: str) -> float:
    return float(getattr(latency, field)) * 1000


def _server(spell: Spell) -> Iterator[Figure]:
    view = spell.server
    for stage in STAGES:
        seconds = view.stage_seconds.get(stage) if view else None
        yield Figure(f"server: {stage}, mean", None if seconds is None else seconds * 1000, "ms")
    yield Figure("server: batch size, mean", view.mean_batch_size if view else None, "images")
    spent = view.processor_seconds if view else None
    cores = None if spent is None or not spell.seconds else spent / spell.seconds
    yield Figure("server: processor", cores, "cores")


def _tester(spell: Spell) -> Iterator[Figure]:
    yield Figure("tester: busy", spell.tester.busy * 100, "%")
    lag = spell.tester.send_lag_p99 * 1000 if spell.rate is not None else None
    yield Figure("tester: send lag p99", lag, "ms")
