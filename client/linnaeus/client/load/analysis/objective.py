"""Parses the objective of a search and the rates of a ramp; checks whether a measurement meets an objective."""

import math
import re
from dataclasses import dataclass
from typing import Self

from linnaeus.client.load.measurement.histograms import Histogram
from linnaeus.client.load.results import Measurement

_MEASURES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0, "mean": None}
_PATTERN = re.compile(r"(?P<measure>[a-z0-9.]+)\s*(?P<relation><=?)\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s)")


@dataclass(frozen=True, slots=True)
class Objective:
    """A bound on latency, such as `p99<100ms`.

    The latency of a call that was not ok counts as infinite: a server that refuses half of its calls meets no bound on
    p90. Calls that the load tester itself cancelled or corrupted do not count.

    Attributes:
        text: as it was written.
        measure: p50, p90, p95, p99, p99.9, max or mean.
        strict: whether the latency must be below the bound (`<`) or may equal it (`<=`).
        bound_seconds: the bound.
    """

    text: str
    measure: str
    strict: bool
    bound_seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses an objective such as `p99<100ms` or `mean <= 0.5 s`.

        Raises:
            ValueError: if it is malformed. The message says how one is written.
        """
        match = _PATTERN.fullmatch(text.strip().lower())
        if match is None or match["measure"] not in _MEASURES:
            raise ValueError(
                f"{text!r} is no objective: write one of {', '.join(_MEASURES)}, then < or <=, then a time in ms or s, "
                "such as p99<100ms"
            )
        bound = float(match["number"]) / (1000.0 if match["unit"] == "ms" else 1.0)
        return cls(text.strip(), match["measure"], match["relation"] == "<", bound)

    def is_met_by(self, measurement: Measurement) -> bool:
        """Returns whether the measurement meets the bound; one in which nothing was sent does not."""
        value = self.value_of(measurement)
        return value < self.bound_seconds if self.strict else value <= self.bound_seconds

    def value_of(self, measurement: Measurement) -> float:
        """Returns the measure over all calls, in seconds; infinite if too many were not ok."""
        counts = measurement.counts
        total = counts.sent - counts.cancelled - counts.corrupt
        percentile = _MEASURES[self.measure]
        if percentile is None:
            return measurement.latency.mean if 0 < total == counts.ok else math.inf
        rank = math.ceil(percentile / 100.0 * total)
        if total == 0 or rank > counts.ok:
            return math.inf
        return Histogram.from_text(measurement.latency.histogram).at_rank(rank)


def parse_ramp(text: str) -> tuple[float, ...]:
    """Parses `FROM:TO:STEPS`, such as `100:1000:10`, into that many evenly spaced rates, both ends included.

    Raises:
        ValueError: if it is malformed. The message says what is wrong.
    """
    parts = text.split(":")
    try:
        first, last, steps = float(parts[0]), float(parts[1]), int(parts[2])
    except (ValueError, IndexError):
        raise ValueError(f"{text!r} is no ramp: write FROM:TO:STEPS, such as 100:1000:10") from None
    if len(parts) != 3 or not 0 < first < last < math.inf or steps < 2:
        raise ValueError(f"{text!r} is no ramp: FROM must be above 0 and below TO, and STEPS at least 2")
    return tuple(first + (last - first) * step / (steps - 1) for step in range(steps))
