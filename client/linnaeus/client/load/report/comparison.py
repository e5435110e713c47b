"""Compares two runs: which measurements correspond, the ratios of their metrics, and the options that differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from linnaeus.client.load.report.metrics import Metric, load_of, main_measurement, metrics_of
from linnaeus.client.load.report.options import displayed_options
from linnaeus.client.load.results import Measurement, Run

# Rates that differ by less, through arithmetic or JSON, are equal.
_RATE_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of both measurements.

    Attributes:
        name: as it is shown.
        unit: of both values.
        a, b: the metric of each; `value` is None if it is unknown.
    """

    name: str
    unit: str
    a: Metric
    b: Metric

    @property
    def ratio(self) -> float | None:
        """B's value divided by A's; None if either is unknown or A's is 0."""
        if self.a.value is None or self.b.value is None or self.a.value == 0:
            return None
        return self.b.value / self.a.value


@dataclass(frozen=True, slots=True)
class Pair:
    """Two measurements that correspond.

    Attributes:
        load: the load of both, or both loads if they differ.
        a, b: the measurements, one of each run.
    """

    load: str
    a: Measurement
    b: Measurement

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every metric that is known in one of the two and not 0 in both."""
        metrics_a, metrics_b = ({metric.name: metric for metric in metrics_of(each)} for each in (self.a, self.b))
        names = _merged_order(list(metrics_a), list(metrics_b))
        rows = [_row(name, metrics_a.get(name), metrics_b.get(name)) for name in names]
        return tuple(row for row in rows if row.a.value or row.b.value)

    def row(self, name: str) -> Row:
        """Returns one metric of both, known or not.

        Raises:
            KeyError: if there is no metric of this name.
        """
        metrics_a, metrics_b = ({metric.name: metric for metric in metrics_of(each)} for each in (self.a, self.b))
        return _row(name, metrics_a[name], metrics_b[name])


@dataclass(frozen=True, slots=True)
class Difference:
    """An option that differs between the runs; None for a run without this option."""

    name: str
    a: Any
    b: Any


# The metrics of the summary of several steps.
SUMMARY = ("goodput", "latency p50", "latency p99")


def matching_pairs(a: Run, b: Run) -> tuple[Pair, ...]:
    """Pairs single runs and searches with each other, and the steps of ramps by equal rate.

    Raises:
        ValueError: if the runs have no measurements that correspond. The message says why.
    """
    if "ramp" not in (a.kind, b.kind):
        main_pairs = [(main_measurement(a), main_measurement(b))]
        pairs = [_pair(first, second) for first, second in main_pairs if first and second]
    else:
        pairs = [
            _pair(first, second) for first in a.measurements for second in b.measurements if _same_rate(first, second)
        ]
    if not pairs:
        raise ValueError("the two runs cannot be compared: they have no step of equal rate")
    return tuple(pairs)


def differing_options(a: Run, b: Run) -> tuple[Difference, ...]:
    """Returns the options that differ, in A's order, followed by those that only B has."""
    options_a, options_b = displayed_options(a), displayed_options(b)
    names = [*options_a, *(name for name in options_b if name not in options_a)]
    differences = (Difference(name, options_a.get(name), options_b.get(name)) for name in names)
    return tuple(each for each in differences if _comparable(each.a) != _comparable(each.b))


def main_pair(pairs: Sequence[Pair], a: Run, b: Run) -> Pair:
    """Returns the pair at the highest rate that does not exceed either run's knee, or else the first one.

    Args:
        pairs: at least one.
        a: the run of their first measurements.
        b: the run of their second measurements.
    """
    knees = [run.knee for run in (a, b) if run.kind == "ramp" and run.knee is not None]
    max_rate = min(knees, default=0.0) * (1 + _RATE_TOLERANCE)
    served = [pair for pair in pairs if pair.a.rate is not None and pair.a.rate <= max_rate]
    return max(served, key=lambda pair: pair.a.rate or 0.0, default=pairs[0])


def _pair(a: Measurement, b: Measurement) -> Pair:
    load_a, load_b = load_of(a), load_of(b)
    return Pair(load_a if load_a == load_b else f"{load_a} (A) and {load_b} (B)", a, b)


def _same_rate(a: Measurement, b: Measurement) -> bool:
    if a.rate is None or b.rate is None:
        return False
    return math.isclose(a.rate, b.rate, rel_tol=_RATE_TOLERANCE)


def _row(name: str, a: Metric | None, b: Metric | None) -> Row:
    known = a or b
    # A status code that a run does not list occurred 0 times in it.
    missing = Metric(name, 0.0, known.unit) if known else Metric(name, None, "calls")
    return Row(name, missing.unit, a or missing, b or missing)


def _merged_order(names_a: list[str], names_b: list[str]) -> list[str]:
    """Merges the names. The orders differ only in status codes: one that only B has precedes what follows it in B."""
    names = list(names_a)
    for position, name in enumerate(names_b):
        if name not in names:
            following = next((each for each in names_b[position:] if each in names), None)
            names.insert(names.index(following) if following else len(names), name)
    return names


def _comparable(value: Any) -> Any:
    """Converts tuples and paths, which JSON does not have."""
    return [str(each) for each in value] if isinstance(value, list | tuple) else value
