"""The devices: their streams, the models on them, and what happens when one of them fails."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from linnaeus.server.execution.device_health import FailureCount
from linnaeus.server.execution.device_worker import DeviceStream
from linnaeus.server.requests.lane import Lane
from linnaeus.server.requests.request import BatchOutcome, Work, WorkBatch, WorkTicket, lane_of
from linnaeus.server.runtime.device import CoreShare, answers, default_streams
from linnaeus.server.runtime.device_memory import DeviceMemory, device_memory
from linnaeus.server.runtime.model import Model
from linnaeus.server.scheduling import BatchQueue

logger = logging.getLogger(__name__)


class DevicePool:
    """Runs batches on every device, each with streams of its own, all from one queue.

    A device is taken out when it does not answer any more, or when it keeps failing at what another one can do. What it
    held goes back to the queue for the others; what no other can run is handed to `strand`.

    Args:
        queue: where batches come from.
        streams: of each device; 0 for its kind's default.
        intra_op_threads: of one operation on a CPU; 0 for one a core.
        clock: the queue's clock.
        began, hand_back: take each batch when it begins and what became of it; called from the streams' threads.
        strand: takes the tickets that no device is left for; called from a lost device's threads.
        lost: takes the name of a lost device, once; called from its thread.
    """

    def __init__(
        self,
        queue: BatchQueue[Work],
        streams: int,
        intra_op_threads: int,
        clock: Callable[[], float],
        began: Callable[[WorkBatch], None],
        hand_back: Callable[[WorkBatch, BatchOutcome], None],
        strand: Callable[[list[WorkTicket]], None],
        lost: Callable[[str], None],
    ) -> None:
        self._queue = queue
        self._streams = streams
        self._intra_op_threads = intra_op_threads
        self._clock = clock
        self.began = began
        self.hand_back = hand_back
        self.strand = strand
        self.lost = lost
        self.failures = FailureCount()
        self._hosts: dict[str, _Host] = {}
        self._ended: list[asyncio.Future[None]] = []

    @property
    def states(self) -> dict[str, bool]:
        """Every device by name, and whether it runs batches."""
        return {name: not host.is_out for name, host in list(self._hosts.items())}  # a scrape may come while loading

    @property
    def streams(self) -> dict[str, int]:
        """Every device by name, and how many batches run side by side on it."""
        return {name: host.streams for name, host in list(self._hosts.items())}

    def memory(self) -> dict[str, DeviceMemory]:
        """Every device that has memory of its own and still tells of it."""
        found = {name: device_memory(host.device) for name, host in list(self._hosts.items())}
        return {name: memory for name, memory in found.items() if memory is not None}

    def place(self, lane: Lane, model: Model) -> None:
        """Puts a model on its device, whose streams begin if it is the first one there. Call it on the event loop."""
        name = str(model.device)
        if name not in self._hosts:
            self._hosts[name] = self._begin(name, model.device)
        self._hosts[name].models[lane] = model

    def remove(self, lane: Lane) -> list[Model]:
        """Takes a model off its devices, once its lane is gone from the queue; returns it as it was on each."""
        self.failures.forget(lane)
        found = [host.models.pop(lane, None) for host in self._hosts.values()]
        return [model for model in found if model is not None]

    def run_here(self, name: str) -> bool:
        """Runs what waits for a device on the calling thread, beside its streams; says whether there was anything."""
        host = self._hosts.get(name)
        return host is not None and DeviceStream(name, self._queue, host, self._clock).run_what_waits()

    async def ended(self) -> None:
        """Ends with the streams, which end when the queue is closed and empty, and ends the models after them."""
        await asyncio.gather(*(asyncio.shield(each) for each in self._ended))
        await asyncio.to_thread(self._close_models)

    def _close_models(self) -> None:
        for host in list(self._hosts.values()):
            for model in list(host.models.values()):  # one may be on its way out
                model.close()

    def _begin(self, name: str, device: Any) -> "_Host":
        streams = self._streams or default_streams(device)
        host = _Host(self, self._queue, name, device, CoreShare(device, self._intra_op_threads), streams)
        self._queue.add_device(name, streams)
        loop = asyncio.get_running_loop()
        self._ended += [DeviceStream(name, self._queue, host, self._clock).start(loop) for _ in range(streams)]
        return host


class _Host:
    """One device, as its streams see it."""

    def __init__(
        self, pool: DevicePool, queue: BatchQueue[Work], name: str, device: Any, cores: CoreShare, streams: int
    ) -> None:
        self._pool = pool
        self._queue = queue
        self._name = name
        self.device = device
        self._cores = cores
        self.streams = streams
        self.models: dict[Lane, Model] = {}
        self.is_out = False

    def model(self, lane: Lane) -> Model:
        return self.models[lane]

    def share_cores(self, batch: WorkBatch) -> None:
        self._cores.take(batch.beside, self.models[lane_of(batch)].is_short)

    def began(self, batch: WorkBatch) -> None:
        self._pool.began(batch)

    def hand_back(self, batch: WorkBatch, outcome: BatchOutcome) -> None:
        self._pool.hand_back(batch, outcome)

    def is_lost(self, batch: WorkBatch, failed: bool) -> bool:
        if not failed:
            self._pool.failures.went_well(self._name, batch.lane)
            return False
        if self.is_out or not answers(self.device):
            return True
        if self.models[lane_of(batch)].works():
            return False  # the pictures were at fault
        return self._pool.failures.failed(self._name, batch.lane)

    def lose(self, batch: WorkBatch) -> None:
        is_first, self.is_out = not self.is_out, True  # before anybody is told
        self._pool.strand(self._queue.remove_device(self._name, batch))
        if is_first:
            logger.error("device %s keeps failing and is taken out", self._name)
            self._pool.lost(self._name)
