"""Moves calls onto what was loaded, and off what is to go.

Belongs to the event loop's thread. It must not know why anything is loaded, nor from where.
"""

import asyncio
import itertools

from linnaeus.server.execution.device_pool import DevicePool
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.model_store.loader import LoadedVersion, Loader, lane_parameters
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.request import RequestPayload
from linnaeus.server.scheduling import BatchQueue


class VersionSwitch:
    """Puts versions before the calls and takes them away.

    Invariants:
        1. Between two steps of the event loop a version has one generation that new calls get, or none.
        2. A call that was admitted to a generation is answered by it, also if another has taken its place.
        3. A generation's lane is closed after the last call could be resolved to it, and its modules go after its lane.

    Args:
        catalog: says what calls get.
        queue: gets a lane for each generation.
        devices: get the modules.
        loader: returns the memory.
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
        """Moves the calls of a version onto what was loaded; returns once the old generation's memory is free."""
        self._catalog.put(self._start_generation(loaded, old if loaded.is_same else None))
        if old is not None:
            await self._retire_generation(old)

    async def remove(self, lane: LaneKey, reason: str) -> None:
        """Takes a version that is ready from the calls; returns once those in flight are answered and its memory free.

        Args:
            lane: its present generation.
            reason: why it is not loaded from now on.
        """
        self._catalog.put(Entry(lane.model, lane.version, ModelState.DRAINING, reason, lane.generation))
        await self._retire_generation(lane)
        self._catalog.put(Entry(lane.model, lane.version, ModelState.UNLOADED, reason))

    def _start_generation(self, loaded: LoadedVersion, learn_from: LaneKey | None) -> Entry:
        folder, models = loaded.folder, loaded.models
        lane = LaneKey(folder.model, folder.version, next(self._generations))
        limits, tables = lane_parameters(models, loaded.chosen)
        for model in models:
            self._devices.add_model(lane, model)
        self._queue.open_lane(lane, limits, tables, learn_from)
        return Entry(
            name=lane.model,
            version=lane.version,
            state=ModelState.READY,
            generation=lane.generation,
            model=models[0],
            devices=tuple(str(model.device) for model in models),
            specialisations=tuple(model.specialisation for model in models),
            max_batch_size=limits.max_batch_size,
            load_seconds=loaded.seconds,
            default_timeout_seconds=loaded.chosen.default_timeout_seconds,
        )

    async def _retire_generation(self, lane: LaneKey) -> None:
        loop = asyncio.get_running_loop()
        drained = asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(drained.set)

        self._queue.close_lane(lane, tell)
        await drained.wait()
        await self._loader.release(self._devices.remove_model(lane))
