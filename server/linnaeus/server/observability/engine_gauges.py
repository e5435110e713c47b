"""Gauges of the engine and its models, collected at each scrape."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from linnaeus.server.model_store.catalog import Entry, ModelState

if TYPE_CHECKING:  # front ends import this module, and have neither a core nor torch
    from linnaeus.server.engine.core import EngineCore

_VERSION = ("model", "version")


class EngineGauges(Collector):
    """The state of an engine's models, devices and queues."""

    def __init__(self, core: "EngineCore", in_flight: Callable[[], int]) -> None:
        self._core = core
        self._in_flight = in_flight

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yields the gauges; called on the scrape's thread."""
        entries = self._core.catalog.entries()
        ready = [entry for entry in entries if entry.state is ModelState.READY]
        states = self._core.device_states.items()
        yield _gauge("linnaeus_in_flight", "Images admitted and not yet answered.", (), {(): self._in_flight()})
        yield _gauge(
            "linnaeus_device_ready",
            "1 if batches run on the device, 0 if it failed and was taken out.",
            ("device",),
            {(name,): float(is_working) for name, is_working in states},
        )
        yield from self._model_gauges(entries, ready)
        yield from self._queue_gauges(ready)

    def _model_gauges(self, entries: Sequence[Entry], ready: Sequence[Entry]) -> Iterator[GaugeMetricFamily]:
        """Yields the gauges of readiness and loading."""
        yield _gauge(
            "linnaeus_model_ready",
            "1 if the version is served, 0 if it is to be and is not.",
            _VERSION,
            # No sample for an unloaded version: 0 means that a version fails to be served.
            {_version(entry): float(entry in ready) for entry in entries if entry.state is not ModelState.UNLOADED},
        )
        yield _gauge(
            "linnaeus_version_label_ready",
            "1 if the version that the label names is served.",
            ("model", "label"),
            self._label_states(entries, ready),
        )
        yield _gauge(
            "linnaeus_model_load_seconds",
            "Time to load and warm up.",
            _VERSION,
            {_version(entry): entry.load_seconds for entry in ready},
        )
        yield _gauge(
            "linnaeus_model_precision",
            "1 for the precision that the version computes in on the device.",
            (*_VERSION, "device", "precision"),
            {(*_version(entry), each.device, each.precision): 1.0 for entry in ready for each in entry.specialisations},
        )

        yield _gauge(
            "linnaeus_model_runtime",
            "1 for the runtime that computes the version on the device.",
            (*_VERSION, "device", "runtime"),
            {(*_version(entry), each.device, each.runtime): 1.0 for entry in ready for each in entry.specialisations},
        )

    def _label_states(self, entries: Sequence[Entry], ready: Sequence[Entry]) -> dict[tuple[str, ...], float]:
        ready_versions = {(entry.name, entry.version) for entry in ready}
        return {
            (name, label): float((name, version) in ready_versions)
            for name in {entry.name for entry in entries}
            for label, version in self._core.catalog.labels(name).items()
        }

    def _queue_gauges(self, ready: Sequence[Entry]) -> Iterator[GaugeMetricFamily]:
        """Yields the gauges of the ready versions' queues and estimates."""
        yield _gauge(
            "linnaeus_queue_depth",
            "Images decoding or waiting for a device.",
            _VERSION,
            {_version(entry): self._core.queue_depth(entry.lane) for entry in ready},
        )
        yield _gauge(
            "linnaeus_prediction_margin_seconds",
            "What is added to predictions now, so that nearly all of them hold.",
            _VERSION,
            {_version(entry): self._core.prediction_error(entry.lane).margin_seconds for entry in ready},
        )
        yield _gauge(
            "linnaeus_batch_expected_seconds",
            "How long nearly all batches of that size take now, with nothing beside them.",
            (*_VERSION, "device", "size"),
            {
                (*_version(entry), device, str(size)): seconds
                for entry in ready
                for device, by_size in self._core.batch_seconds(entry.lane).items()
                for size, seconds in by_size.items()
            },
        )


def _version(entry: Entry) -> tuple[str, str]:
    return entry.name, str(entry.version)


def _gauge(
    name: str, help_text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
