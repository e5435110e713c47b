"""Gauges of the devices, collected at each scrape."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:  # front ends import this module, and have neither a core nor torch
    from linnaeus.server.engine.core import EngineCore


class DeviceGauges(Collector):
    """The workers and the memory of an engine's devices. A CPU has no memory samples."""

    def __init__(self, core: "EngineCore") -> None:
        self._core = core

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yields the gauges; called on the scrape's thread."""
        memory = self._core.device_memory
        yield _by_device("streams", "Batches that run side by side on the device.", self._core.device_workers)
        yield _by_device(
            "memory_reserved_bytes",
            "Memory of the device that this process holds, in use or kept for the next batch.",
            {name: each.reserved_bytes for name, each in memory.items()},
        )
        yield _by_device(
            "memory_free_bytes",
            "Memory of the device that no process holds.",
            {name: each.free_bytes for name, each in memory.items()},
        )
        yield _by_device(
            "memory_limit_bytes",
            "Memory that the device has.",
            {name: each.limit_bytes for name, each in memory.items()},
        )


def _by_device(name: str, help_text: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"linnaeus_device_{name}", help_text, labels=("device",))
    for device, value in values.items():
        family.add_metric((device,), value)
    return family
