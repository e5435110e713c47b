"""Prometheus histograms with a cheap `observe`: cumulative counts and samples are computed at each scrape."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString


class HistogramSeries:
    """One series of a histogram.

    Only one thread may call `observe`. A scrape on another thread may miss the value that is being observed at that
    moment, and no other.

    Args:
        bounds: the upper bounds of the buckets, ascending.
    """

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Adds a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def read(self) -> tuple[list[int], float]:
        """Returns the cumulative counts, one per bound and the total last, and the sum of the values."""
        return list(accumulate(self._counts)), self._total


class HistogramFamily(Collector):
    """A histogram with labels: one series per combination of label values.

    The Prometheus client's own histograms take a lock and compare every bound for each value. For a small model, each
    image of which is observed in six histograms, that was a tenth of the event loop's work. The text of a scrape is the
    same.

    Args:
        name: the metric's name.
        help_text: the metric's help.
        bounds: the upper bounds of the buckets, ascending; a bucket for larger values is added.
        labels: the names of the labels.
        registry: the registry that the histogram is added to.
    """

    def __init__(
        self, name: str, help_text: str, bounds: Iterable[float], labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._help_text = help_text
        self._bounds = tuple(bounds)
        self._label_names = tuple(labels)
        self._series: dict[tuple[str, ...], HistogramSeries] = {}
        registry.register(self)

    def labels(self, *values: str) -> HistogramSeries:
        """Returns the series with these label values; creates it at the first call."""
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = HistogramSeries(self._bounds)
        return series

    def label_values(self) -> list[tuple[str, ...]]:
        """Returns the label values of every series."""
        return list(self._series)

    def remove(self, *values: str) -> None:
        """Drops the series with these label values, if there is one."""
        self._series.pop(values, None)

    def collect(self) -> Iterable[Metric]:
        """Returns the samples of every series; called on the scrape's thread."""
        family = Metric(self._name, self._help_text, "histogram")
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, series in list(self._series.items()):
            labels = dict(zip(self._label_names, values, strict=True))
            counts, total = series.read()
            for bound, count in zip(bounds, counts, strict=True):
                family.samples.append(Sample(f"{self._name}_bucket", {**labels, "le": bound}, count))
            family.samples.append(Sample(f"{self._name}_count", labels, counts[-1]))
            if self._bounds[0] >= 0:  # Prometheus requires a sum that never decreases
                family.samples.append(Sample(f"{self._name}_sum", labels, total))
        return [family]
