"""Brings a version folder onto its devices."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from linnaeus.server.batching import LaneLimits, LatencyTable
from linnaeus.server.engine.repository import VersionFolder
from linnaeus.server.errors import ModelRefused, StartupError
from linnaeus.server.model_settings import CONFIG_FILE, ModelSettings
from linnaeus.server.runtime.device import CoreShare, resolve_devices
from linnaeus.server.runtime.model import Model, load_model

logger = logging.getLogger(__name__)


def devices_of(chosen: ModelSettings) -> list[Any]:
    """The devices that a model names, each once.

    Raises:
        ModelRefused: one of them is not there.
    """
    try:
        return resolve_devices(",".join(chosen.devices))
    except StartupError as error:
        raise ModelRefused(f"{CONFIG_FILE}: devices: {error}") from None


def load_on_each(
    folder: VersionFolder, devices: Mapping[Any, CoreShare], max_batch_size: int, cuda_graphs: bool = False
) -> list[Model]:
    """Loads, checks and warms up a version on each device, one after the other. Takes seconds.

    Raises:
        ModelRefused: a check fails.
    """
    models = []
    for device, cores in devices.items():
        cores.take(0)  # batches are timed with all cores
        models.append(load_model(folder.path, device, max_batch_size, cuda_graphs))
    return models


def lane_of(models: Sequence[Model], chosen: ModelSettings) -> tuple[LaneLimits, dict[str, LatencyTable]]:
    """What the queue is to know of a version: its limits, and how long its batches take on each device."""
    limits = LaneLimits(
        max_batch_size=min(model.max_batch_size for model in models),
        max_queue_size=chosen.max_queue_size,
        max_queue_delay_seconds=chosen.max_queue_delay_seconds,
        weight=chosen.weight,
        priority_weights=chosen.priority_weights,
        instances=chosen.instances,
    )
    timings = {str(model.device): {timing.size: timing.seconds for timing in model.timings} for model in models}
    return limits, {name: LatencyTable(seconds) for name, seconds in timings.items()}


def log_ready(folder: VersionFolder, models: Sequence[Model], seconds: float) -> None:
    """Says that a version is served, and how fast it is."""
    for model in models:
        speeds = ", ".join(f"{timing.size}: {timing.images_per_second:.0f}/s" for timing in model.timings)
        logger.info(
            "model %s/%d is ready on %s after %.1f s (images a second by batch size: %s)",
            *(folder.model, folder.version, model.device, seconds, speeds),
        )
