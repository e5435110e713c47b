"""Histograms that cost next to nothing to count in; what Prometheus wants of them is worked out when it asks."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString


class HistogramSeries:
    """One series: how many values fell below each bound.

    One thread counts; a scrape on another may miss the value that is being counted just then, and no other.
    """

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def read(self) -> tuple[list[int], float]:
        """How many values are not above each bound, and how many there are; and their sum."""
        return list(accumulate(self._counts)), self._total


class HistogramFamily(Collector):
    """A family of them, one a combination of labels.

    The Prometheus client's own histograms take a lock for each value and look at every bound: for a small model, whose
    images are counted in six of them, that was a tenth of what the event loop did. The text of a scrape is the same.

    Args:
        name, help_text: the family's.
        bounds: of the buckets, growing; values above the last have one more.
        labels: names.
        registry: that tells of them.
    """

    def __init__(
        self, name: str, help_text: str, bounds: Iterable[float], labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._help_text = help_text
        self._bounds = tuple(bounds)
        self._names = tuple(labels)
        self._series: dict[tuple[str, ...], HistogramSeries] = {}
        registry.register(self)

    def labels(self, *values: str) -> HistogramSeries:
        """The series with these labels, which begins when it is first asked for."""
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = HistogramSeries(self._bounds)
        return found

    def collect(self) -> Iterable[Metric]:
        """Tells of every series; called at a scrape, on its thread."""
        family = Metric(self._name, self._help_text, "histogram")
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, series in list(self._series.items()):
            labels = dict(zip(self._names, values, strict=True))
            counts, total = series.read()
            for bound, count in zip(bounds, counts, strict=True):
                family.samples.append(Sample(f"{self._name}_bucket", {**labels, "le": bound}, count))
            family.samples.append(Sample(f"{self._name}_count", labels, counts[-1]))
            if self._bounds[0] >= 0:  # a sum that may fall is none that Prometheus can use
                family.samples.append(Sample(f"{self._name}_sum", labels, total))
        return [family]
