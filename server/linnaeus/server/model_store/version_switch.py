"""Starts and retires generations of model versions without failing calls.

Belongs to the event loop's thread. This module must not know why a version is loaded, nor from where.
"""

import asyncio
import itertools

from linnaeus.server.errors import ModelRefused
from linnaeus.server.execution.device_pool import DevicePool
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.model_store.loader import LoadedVersion, Loader, lane_parameters
from linnaeus.server.model_store.model_description import ModelDescription
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.request import RequestPayload
from linnaeus.server.scheduling import BatchQueue


class VersionSwitch:
    """Puts loaded versions into service and takes them out of service.

    Invariants:
        1. Between two iterations of the event loop, new requests for a version resolve to one generation, or to none.
        2. A request admitted to a generation is answered by it, even if another generation has replaced it.
        3. A generation's lane is closed once no request can resolve to it, and its models are removed after the lane.

    Args:
        catalog: resolves requests to generations.
        queue: has one lane for each generation.
        devices: run the models.
        loader: releases the models' memory.
    """

    def __init__(
        self, catalog: Catalog, queue: BatchQueue[RequestPayload], devices: DevicePool, loader: Loader
    ) -> None:
        self._catalog = catalog
        self._queue = queue
        self._devices = devices
        self._loader = loader
        self._generations = itertools.count(1)

    async def replace(self, old: LaneKey | None, loaded: LoadedVersion) -> None:
        """Puts a loaded version into service; returns once the generation it replaces is drained and its memory free.

        Args:
            old: lane of the generation to replace; None if the version is not in service.
            loaded: the loaded version.

        Raises:
            ModelRefused: if a device's workers cannot be started; the version's models are closed then.
        """
        lane = LaneKey(loaded.folder.model, loaded.folder.version, next(self._generations))
        try:
            entry = self._start_generation(lane, loaded, old if loaded.is_same else None)
        except ModelRefused:
            self._devices.remove_model(lane)
            await self._loader.release(list(loaded.models))
            raise
        self._catalog.put(entry)
        if old is not None:
            await self._retire_generation(old)

    async def remove(self, lane: LaneKey, reason: str) -> None:
        """Takes a ready version out of service; returns once its requests are answered and its memory is free.

        Args:
            lane: lane of its current generation.
            reason: why it is unloaded.
        """
        self._catalog.put(Entry(lane.model, lane.version, ModelState.DRAINING, reason, lane.generation))
        await self._retire_generation(lane)
        self._catalog.put(Entry(lane.model, lane.version, ModelState.UNLOADED, reason))

    def _start_generation(self, lane: LaneKey, loaded: LoadedVersion, learn_from: LaneKey | None) -> Entry:
        models = loaded.models
        limits, tables = lane_parameters(models, loaded.settings)
        for model in models:
            self._devices.add_model(lane, model)
        self._queue.open_lane(lane, limits, tables, learn_from)
        return Entry(
            name=lane.model,
            version=lane.version,
            state=ModelState.READY,
            generation=lane.generation,
            model=ModelDescription(models[0].manifest, models[0].labels),
            devices=tuple(str(model.device) for model in models),
            specialisations=tuple(model.specialisation for model in models),
            max_batch_size=limits.max_batch_size,
            load_seconds=loaded.seconds,
            default_timeout_seconds=loaded.settings.default_timeout_seconds,
        )

    async def _retire_generation(self, lane: LaneKey) -> None:
        loop = asyncio.get_running_loop()
        drained = asyncio.Event()

        def on_drained() -> None:
            loop.call_soon_threadsafe(drained.set)

        self._queue.close_lane(lane, on_drained)
        await drained.wait()
        await self._loader.release(self._devices.remove_model(lane))
