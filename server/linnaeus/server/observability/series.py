"""Prometheus metrics with labels whose series are cheap to look up: one dictionary, no lock and no check of labels."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

SeriesT = TypeVar("SeriesT")


class SeriesFamily(Collector, Generic[SeriesT]):
    """A metric with labels: one series per combination of label values. Series belong to one thread; any may scrape.

    Args:
        name: the metric's name.
        help_text: the metric's help.
        kind: its Prometheus type.
        labels: the names of the labels.
        registry: the registry that the metric is added to.
    """

    def __init__(
        self, name: str, help_text: str, kind: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._help_text = help_text
        self._kind = kind
        self._label_names = tuple(labels)
        self._series: dict[tuple[str, ...], SeriesT] = {}
        registry.register(self)

    def labels(self, *values: str) -> SeriesT:
        """Returns the series with these label values; creates it at the first call."""
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = self._new_series()
        return series

    def label_values(self) -> list[tuple[str, ...]]:
        """Returns the label values of every series."""
        return list(self._series)

    def remove(self, *values: str) -> None:
        """Drops the series with these label values, if there is one."""
        self._series.pop(values, None)

    def collect(self) -> Iterable[Metric]:
        """Returns the samples of every series; called on the scrape's thread."""
        family = Metric(self._name, self._help_text, self._kind)
        for values, series in list(self._series.items()):
            family.samples += self._samples(dict(zip(self._label_names, values, strict=True)), series)
        return [family]

    @abstractmethod
    def _new_series(self) -> SeriesT:
        """Returns a series without values."""

    @abstractmethod
    def _samples(self, labels: dict[str, str], series: SeriesT) -> Iterable[Sample]:
        """Returns the samples of a series."""


class CounterSeries:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Adds an amount of at least 0."""
        self.value += amount


class CounterFamily(SeriesFamily[CounterSeries]):
    """A counter with labels. The Prometheus client's own takes a lock and two checks for each call."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        super().__init__(name, help_text, "counter", labels, registry)

    def _new_series(self) -> CounterSeries:
        return CounterSeries()

    def _samples(self, labels: dict[str, str], series: CounterSeries) -> Iterable[Sample]:
        return [Sample(f"{self._name}_total", labels, series.value)]
