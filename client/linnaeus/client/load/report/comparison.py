"""Two runs side by side: which spells belong together, how their figures relate, and which options differ.

It must not know how the comparison is shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linnaeus.client.load.report.metrics import Figure, featured, figures_of, load_of
from linnaeus.client.load.report.options import told_options
from linnaeus.client.load.results import Run, Spell

# A rate that went through arithmetic or JSON is still the same rate.
_SAME_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both.

    Attributes:
        name: in words.
        unit: of both.
        a, b: each run's; `value` is None where it is not known.
    """

    name: str
    unit: str
    a: Figure
    b: Figure

    @property
    def ratio(self) -> float | None:
        """B's value by A's; None where either is unknown or A's is 0."""
        if self.a.value is None or self.b.value is None or self.a.value == 0:
            return None
        return self.b.value / self.a.value


@dataclass(frozen=True, slots=True)
class Pair:
    """Two spells that belong together.

    Attributes:
        load: in words; both loads where they are not the same.
        a, b: one of each run.
    """

    load: str
    a: Spell
    b: Spell

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every figure that one of the two knows and that is not 0 in both."""
        ours, theirs = ({figure.name: figure for figure in figures_of(spell)} for spell in (self.a, self.b))
        rows = [_row(name, ours.get(name), theirs.get(name)) for name in _in_reading_order(list(ours), list(theirs))]
        return tuple(row for row in rows if row.a.value or row.b.value)

    def row(self, name: str) -> Row:
        """One figure of both, known or not.

        Raises:
            KeyError: there is no figure of this name.
        """
        ours, theirs = ({figure.name: figure for figure in figures_of(spell)} for spell in (self.a, self.b))
        return _row(name, ours[name], theirs[name])


@dataclass(frozen=True, slots=True)
class Difference:
    """An option, named in words, that the runs do not share; None where a run has no such option."""

    name: str
    a: Any
    b: Any


# The figures by which steps are compared at a glance.
SUMMARY = ("goodput", "latency p50", "latency p99")


def pairs_of(a: Run, b: Run) -> tuple[Pair, ...]:
    """Pairs what can be compared: two single runs or searches as they are, steps of a ramp by equal rate.

    Raises:
        ValueError: the runs have no spells that belong together; says why.
    """
    if "ramp" not in (a.kind, b.kind):
        pairs = [_pair(first, second) for first, second in [(featured(a), featured(b))] if first and second]
    else:
        pairs = [_pair(first, second) for first in a.spells for second in b.spells if _same_load(first, second)]
    if not pairs:
        raise ValueError("the two runs cannot be compared: they have no step of equal rate")
    return tuple(pairs)


def differing_options(a: Run, b: Run) -> tuple[Difference, ...]:
    """Options whose values are not equal, in A's order, then those that only B has."""
    ours, theirs = told_options(a), told_options(b)
    names = [*ours, *(name for name in theirs if name not in ours)]
    differences = (Difference(name, ours.get(name), theirs.get(name)) for name in names)
    return tuple(each for each in differences if _comparable(each.a) != _comparable(each.b))


def speaking(pairs: Sequence[Pair], a: Run, b: Run) -> Pair:
    """The pair to look at closely: the highest rate that neither run's knee forbids, else the first.

    Args:
        pairs: at least one.
        a: the run of their first spells.
        b: the run of their second spells.
    """
    knees = [run.knee for run in (a, b) if run.kind == "ramp" and run.knee is not None]
    served = [
        pair for pair in pairs if pair.a.rate is not None and knees and pair.a.rate <= min(knees) * (1 + _SAME_RATE)
    ]
    return max(served, key=lambda pair: pair.a.rate or 0.0, default=pairs[0])


def _pair(a: Spell, b: Spell) -> Pair:
    ours, theirs = load_of(a), load_of(b)
    return Pair(ours if ours == theirs else f"{ours} (A) and {theirs} (B)", a, b)


def _same_load(a: Spell, b: Spell) -> bool:
    if a.rate is None or b.rate is None:
        return False
    return math.isclose(a.rate, b.rate, rel_tol=_SAME_RATE)


def _row(name: str, a: Figure | None, b: Figure | None) -> Row:
    known = a or b
    # A status code that one run never saw was seen by it no times.
    missing = Figure(name, 0.0, known.unit) if known else Figure(name, None, "calls")
    return Row(name, missing.unit, a or missing, b or missing)


def _in_reading_order(ours: list[str], theirs: list[str]) -> list[str]:
    """Both orders are the same but for the status codes, so what only B has goes before what follows it in B."""
    names = list(ours)
    for place, name in enumerate(theirs):
        if name not in names:
            following = next((each for each in theirs[place:] if each in names), None)
            names.insert(names.index(following) if following else len(names), name)
    return names


def _comparable(value: Any) -> Any:
    """JSON knows no tuples and no paths."""
    return [str(each) for each in value] if isinstance(value, list | tuple) else value
