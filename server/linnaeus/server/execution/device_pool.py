"""The devices, their workers and the models on them; removes devices that fail. Must not know callers or gRPC."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from linnaeus.server.errors import InternalFailure, ModelRefused
from linnaeus.server.execution.device_health import DeviceHealth
from linnaeus.server.execution.device_worker import WORKER_PART, DeviceWorker
from linnaeus.server.process.daemon_threads import run_in_thread
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.request import BatchOutcome, RequestBatch, RequestPayload, RequestTicket, lane_key_of
from linnaeus.server.runtime.device import CoreShare, default_workers, is_responsive
from linnaeus.server.runtime.device_memory import DeviceMemory, device_memory
from linnaeus.server.runtime.model import Model
from linnaeus.server.scheduling import BatchQueue

logger = logging.getLogger(__name__)


class DevicePool:
    """A set of devices that run batches of one queue, each with its own workers.

    A device is removed if it no longer responds, or if it repeatedly fails batches of a lane that another device runs.
    Its batches return to the queue; tickets that no remaining device can run are passed to `on_stranded`.

    `add_model`, `remove_model`, `run_short` and `wait_closed` belong to the event loop's thread; any thread may read
    `states`, `workers` and `memory`.

    Args:
        queue: source of the batches.
        workers: number of workers for each device; 0 for the default of the device type.
        intra_op_threads: torch threads of one operation on a CPU; 0 for one per core.
        clock: the queue's clock, in seconds.
        on_batch_started: receives each batch before its run; called on the thread that runs it.
        on_batch_finished: receives each batch and its outcome; called on the thread that ran it.
        on_stranded: receives the tickets that no device is left for; called on a thread of the removed device.
        on_device_removed: receives the name of a removed device, once; called on a thread of that device.
        on_batch_lost: receives the tickets of a batch whose outcome could not be handled, and their error.
        supervisor: receives faults of the workers.
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
        on_batch_lost: Callable[[list[RequestTicket], InternalFailure], None],
        supervisor: Supervisor,
    ) -> None:
        self._queue = queue
        self._workers = workers
        self._intra_op_threads = intra_op_threads
        self._clock = clock
        self.batch_started = on_batch_started
        self.batch_finished = on_batch_finished
        self.on_stranded = on_stranded
        self.on_device_removed = on_device_removed
        self.on_batch_lost = on_batch_lost
        self._supervisor = supervisor
        self.health = DeviceHealth()
        self._devices: dict[str, _PooledDevice] = {}
        self._workers_ended: list[asyncio.Future[None]] = []

    @property
    def states(self) -> dict[str, bool]:
        """Whether each device runs batches (False if it was removed), by device name."""
        # A copy, here and below: the event loop may add a device meanwhile.
        return {name: not pooled.is_removed for name, pooled in list(self._devices.items())}

    @property
    def workers(self) -> dict[str, int]:
        """Number of workers of each device, by device name."""
        return {name: pooled.workers for name, pooled in list(self._devices.items())}

    def memory(self) -> dict[str, DeviceMemory]:
        """Returns the memory of each device that has its own and still reports it, by device name."""
        found = {name: device_memory(pooled.device) for name, pooled in list(self._devices.items())}
        return {name: memory for name, memory in found.items() if memory is not None}

    def add_model(self, lane: LaneKey, model: Model) -> None:
        """Adds a model to its device; starts the device's workers with the first model. Event loop's thread only.

        Raises:
            ModelRefused: if the process may have no more threads; the device is not added then.
        """
        name = str(model.device)
        if name not in self._devices:
            self._devices[name] = self._add_device(name, model.device)
        self._devices[name].models[lane] = model

    def models(self, lane: LaneKey) -> list[Model]:
        """Returns a lane's model on each of its devices."""
        return [pooled.models[lane] for pooled in self._devices.values() if lane in pooled.models]

    def remove_model(self, lane: LaneKey) -> list[Model]:
        """Removes a lane's model from every device, after the queue removed the lane; returns the model of each."""
        self.health.forget(lane)
        found = [pooled.models.pop(lane, None) for pooled in self._devices.values()]
        return [model for model in found if model is not None]

    def run_short(self) -> bool:
        """Runs one batch of a lane with short runs on each device where one is due, on the calling thread.

        Returns:
            Whether there was any.
        """
        return any([self._run_short(pooled.worker) for pooled in list(self._devices.values())])

    def _run_short(self, worker: DeviceWorker) -> bool:
        try:
            return worker.run_short()
        except BaseException as error:  # also SystemExit, which would end the event loop
            self._supervisor.report(WORKER_PART, error)
            return False

    async def wait_closed(self) -> None:
        """Waits until all workers end, which they do once the queue is closed and empty; then closes the models."""
        await asyncio.gather(*(asyncio.shield(each) for each in self._workers_ended))
        await run_in_thread("linnaeus-close", self._close_models)

    def _close_models(self) -> None:
        for pooled in list(self._devices.values()):
            for model in list(pooled.models.values()):  # a copy: the event loop may remove a model meanwhile
                model.close()

    def _add_device(self, name: str, device: Any) -> "_PooledDevice":
        of_one_lane = self._workers or default_workers(device)
        # On a CPU another model's batch, which may be short, need not wait until one of those ends.
        workers = of_one_lane + (device.type == "cpu" and not self._workers)
        pooled = _PooledDevice(self, self._queue, name, device, CoreShare(device, self._intra_op_threads), workers)
        pooled.worker = self._worker(name, pooled)
        self._queue.add_device(name, workers, of_one_lane)
        loop = asyncio.get_running_loop()
        try:
            for _ in range(workers):
                self._workers_ended.append(self._worker(name, pooled).start(loop))
        except RuntimeError as error:
            self._queue.remove_device(name)  # ends the workers that were started
            reference = self._supervisor.report(WORKER_PART, error)
            sentence = f"the {workers} threads of device {name} cannot be started ({error}; log reference {reference})"
            raise ModelRefused(f"{sentence}: raise the limit of processes, or set fewer streams") from None
        return pooled

    def _worker(self, name: str, pooled: "_PooledDevice") -> DeviceWorker:
        return DeviceWorker(name, self._queue, pooled, self._clock, self._supervisor)


class _PooledDevice:
    """One device of the pool; the `WorkerContext` of its workers."""

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
        self.worker: DeviceWorker  # of the event loop; set at once by the pool

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
            return False  # the model runs a blank image, so the batch's images were at fault
        return self._pool.health.record_failure(self._name, batch.lane)

    def must_remove_after_escape(self, batch: RequestBatch) -> bool:
        return self.is_removed or self._pool.health.record_failure(self._name, batch.lane)

    def batch_lost(self, batch: RequestBatch, error: InternalFailure) -> None:
        self._pool.on_batch_lost([*batch.late, *batch.tickets], error)

    def remove_device(self, batch: RequestBatch | None) -> None:
        is_first, self.is_removed = not self.is_removed, True  # set before the callbacks, which may read `states`
        try:
            self._pool.on_stranded(self._queue.remove_device(self._name, batch))
        finally:
            if is_first:
                logger.error("device %s keeps failing and is taken out", self._name)
                self._pool.on_device_removed(self._name)
