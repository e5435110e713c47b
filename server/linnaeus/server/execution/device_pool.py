"""The devices: their workers, the models on them, and what happens when one of them fails."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from linnaeus.server.execution.device_health import DeviceHealth
from linnaeus.server.execution.device_worker import DeviceWorker
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.request import BatchOutcome, RequestBatch, RequestPayload, RequestTicket, lane_key_of
from linnaeus.server.runtime.device import CoreShare, default_workers, is_responsive
from linnaeus.server.runtime.device_memory import DeviceMemory, device_memory
from linnaeus.server.runtime.model import Model
from linnaeus.server.scheduling import BatchQueue

logger = logging.getLogger(__name__)


class DevicePool:
    """Runs batches on every device, each with workers of its own, all from one queue.

    A device is taken out when it does not answer any more, or when it keeps failing at what another one can do. What it
    held goes back to the queue for the others; what no other can run is handed to `on_stranded`.

    Args:
        queue: where batches come from.
        workers: of each device; 0 for its kind's default.
        intra_op_threads: of one operation on a CPU; 0 for one a core.
        clock: the queue's clock.
        on_batch_started: takes each batch when it begins; called from the workers' threads.
        on_batch_finished: takes each batch and its outcome; called from the workers' threads.
        on_stranded: takes the tickets that no device is left for; called from a lost device's threads.
        on_device_removed: takes the name of a lost device, once; called from its thread.
    """

    def __init__(
        self,
        queue: BatchQueue[RequestPayload],
        workers: int,
        intra_op_threads: int,
        clock: Callable[[], float],
        on_batch_started: Callable[[RequestBatch], None],
        on_batch_finished: Callable[[RequestBatch, BatchOutcome], None],
        on_stranded: Callable[[list[RequestTicket]], None],
        on_device_removed: Callable[[str], None],
    ) -> None:
        self._queue = queue
        self._workers = workers
        self._intra_op_threads = intra_op_threads
        self._clock = clock
        self.batch_started = on_batch_started
        self.batch_finished = on_batch_finished
        self.on_stranded = on_stranded
        self.on_device_removed = on_device_removed
        self.health = DeviceHealth()
        self._devices: dict[str, _PooledDevice] = {}
        self._workers_ended: list[asyncio.Future[None]] = []

    @property
    def states(self) -> dict[str, bool]:
        """Every device by name, and whether it runs batches."""
        return {
            name: not pooled.is_removed for name, pooled in list(self._devices.items())
        }  # a scrape may come while loading

    @property
    def workers(self) -> dict[str, int]:
        """Every device by name, and how many batches run side by side on it."""
        return {name: pooled.workers for name, pooled in list(self._devices.items())}

    def memory(self) -> dict[str, DeviceMemory]:
        """Every device that has memory of its own and still tells of it."""
        found = {name: device_memory(pooled.device) for name, pooled in list(self._devices.items())}
        return {name: memory for name, memory in found.items() if memory is not None}

    def add_model(self, lane: LaneKey, model: Model) -> None:
        """Puts a model on its device, whose workers begin if it is the first one there. Call it on the event loop."""
        name = str(model.device)
        if name not in self._devices:
            self._devices[name] = self._add_device(name, model.device)
        self._devices[name].models[lane] = model

    def remove_model(self, lane: LaneKey) -> list[Model]:
        """Takes a model off its devices, once its lane is gone from the queue; returns it as it was on each."""
        self.health.forget(lane)
        found = [pooled.models.pop(lane, None) for pooled in self._devices.values()]
        return [model for model in found if model is not None]

    def run_inline(self, name: str) -> bool:
        """Runs what waits for a device on the calling thread, beside its workers; says whether there was anything."""
        pooled = self._devices.get(name)
        return pooled is not None and DeviceWorker(name, self._queue, pooled, self._clock).run_pending()

    async def wait_closed(self) -> None:
        """Ends with the workers, which end when the queue is closed and empty, and ends the models after them."""
        await asyncio.gather(*(asyncio.shield(each) for each in self._workers_ended))
        await asyncio.to_thread(self._close_models)

    def _close_models(self) -> None:
        for pooled in list(self._devices.values()):
            for model in list(pooled.models.values()):  # one may be on its way out
                model.close()

    def _add_device(self, name: str, device: Any) -> "_PooledDevice":
        workers = self._workers or default_workers(device)
        pooled = _PooledDevice(self, self._queue, name, device, CoreShare(device, self._intra_op_threads), workers)
        self._queue.add_device(name, workers)
        loop = asyncio.get_running_loop()
        self._workers_ended += [
            DeviceWorker(name, self._queue, pooled, self._clock).start(loop) for _ in range(workers)
        ]
        return pooled


class _PooledDevice:
    """One device, as its workers see it."""

    def __init__(
        self,
        pool: DevicePool,
        queue: BatchQueue[RequestPayload],
        name: str,
        device: Any,
        cores: CoreShare,
        workers: int,
    ) -> None:
        self._pool = pool
        self._queue = queue
        self._name = name
        self.device = device
        self._cores = cores
        self.workers = workers
        self.models: dict[LaneKey, Model] = {}
        self.is_removed = False

    def model(self, lane: LaneKey) -> Model:
        return self.models[lane]

    def share_cores(self, batch: RequestBatch) -> None:
        self._cores.take(batch.concurrent, self.models[lane_key_of(batch)].is_short)

    def batch_started(self, batch: RequestBatch) -> None:
        self._pool.batch_started(batch)

    def batch_finished(self, batch: RequestBatch, outcome: BatchOutcome) -> None:
        self._pool.batch_finished(batch, outcome)

    def must_remove_device(self, batch: RequestBatch, failed: bool) -> bool:
        if not failed:
            self._pool.health.record_success(self._name, batch.lane)
            return False
        if self.is_removed or not is_responsive(self.device):
            return True
        if self.models[lane_key_of(batch)].works():
            return False  # the pictures were at fault
        return self._pool.health.record_failure(self._name, batch.lane)

    def remove_device(self, batch: RequestBatch) -> None:
        is_first, self.is_removed = not self.is_removed, True  # before anybody is told
        self._pool.on_stranded(self._queue.remove_device(self._name, batch))
        if is_first:
            logger.error("device %s keeps failing and is taken out", self._name)
            self._pool.on_device_removed(self._name)
