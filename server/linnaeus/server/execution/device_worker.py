"""A worker of batches on a device: it pulls them, runs them and hands the outcomes back.

It must not know who waits for the answers, nor how they are spoken of on the wire.
"""

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol

from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.execution.failed_batch import FailedBatch, late_outcome, log_failure, model_label
from linnaeus.server.process.thread_priority import lower_priority
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.request import (
    BatchOutcome,
    ItemOutcome,
    RequestBatch,
    RequestPayload,
    RequestTicket,
    lane_key_of,
)
from linnaeus.server.runtime.model import Model, OutOfMemory, Ranking
from linnaeus.server.scheduling import BatchQueue

logger = logging.getLogger(__name__)


class WorkerContext(Protocol):
    """What a worker asks of those around it; called from the worker's thread, must not block."""

    def model(self, lane: LaneKey) -> Model:
        """The lane's model on the worker's device."""

    def share_cores(self, batch: RequestBatch) -> None:
        """A batch is about to run."""

    def batch_started(self, batch: RequestBatch) -> None:
        """A batch was taken."""

    def batch_finished(self, batch: RequestBatch, outcome: BatchOutcome) -> None:
        """A batch is done with."""

    def must_remove_device(self, batch: RequestBatch, failed: bool) -> bool:
        """Whether the device is beyond help, now that a batch went through or `failed` altogether."""

    def remove_device(self, batch: RequestBatch) -> None:
        """The device is to be taken out; the batch waits for another."""


class DeviceWorker:
    """Runs batches, one at a time, until the queue is closed and empty or the device is lost.

    It has a thread of its own, or runs what waits on the thread of whoever asks. Several of them may share a device.

    Contract: every ticket that the queue hands out comes back in exactly one outcome, or goes back to the queue because
    the device is lost. A run that raises is logged, then its images are tried again one by one, so that only a guilty
    one fails; one that needs more memory than there is, in halves. The worker goes on.

    Args:
        device: whose worker it is.
        queue: where batches come from.
        context: whom it asks.
        clock: the queue's clock.
    """

    def __init__(
        self, device: str, queue: BatchQueue[RequestPayload], context: WorkerContext, clock: Callable[[], float]
    ) -> None:
        self._device = device
        self._queue = queue
        self._context = context
        self._clock = clock

    def start(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """Begins to pull on a thread of its own; the future ends on the loop when the thread does."""
        ended = loop.create_future()
        threading.Thread(target=self._pull, args=(loop, ended), name=f"linnaeus-{self._device}", daemon=True).start()
        return ended

    def run_pending(self) -> bool:
        """Runs what the queue has for the device now, on the calling thread; returns whether there was anything."""
        batch = first = self._queue.take_nowait(self._device)
        while batch is not None and (learn := self._process(batch)) is not None:
            batch = self._queue.take_nowait(self._device, batch, learn)
        return first is not None

    def _pull(self, loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]") -> None:
        lower_priority()
        batch = self._queue.take(self._device)
        while batch is not None and (learn := self._process(batch)) is not None:
            batch = self._queue.take(self._device, batch, learn)
        loop.call_soon_threadsafe(ended.set_result, None)

    def _process(self, batch: RequestBatch) -> bool | None:
        """Runs a batch and hands it back.

        Returns:
            Whether the time it took tells of the next ones; None if the device is lost.
        """
        self._context.batch_started(batch)
        started = self._clock()
        ran = self._execute(batch)
        failures = sum(isinstance(item.result, InternalFailure) for item in ran)
        went_through = any(isinstance(item.result, Ranking) for item in ran)
        if ran and self._context.must_remove_device(batch, failed=failures > 0 and not went_through):
            self._context.batch_finished(batch, self._outcome(batch, started, []))
            self._context.remove_device(batch)
            return None
        self._context.batch_finished(batch, self._outcome(batch, started, ran))
        return not failures and all(item.batch_size == len(batch.tickets) for item in ran)

    def _execute(self, batch: RequestBatch) -> list[ItemOutcome]:
        if not batch.tickets:
            return []
        self._context.share_cores(batch)
        return self._run(self._context.model(lane_key_of(batch)), batch.tickets)

    def _outcome(self, batch: RequestBatch, started: float, ran: list[ItemOutcome]) -> BatchOutcome:
        late = [late_outcome(ticket, self._clock()) for ticket in batch.late]
        finished = self._clock()
        seconds = finished - started if ran else 0.0
        return BatchOutcome(lane_key_of(batch), self._device, len(ran), seconds, late + ran, finished)

    def _run(self, model: Model, tickets: Sequence[RequestTicket], halves: bool = True) -> list[ItemOutcome]:
        """Runs the tickets together; if that fails, in smaller parts.

        Args:
            model: what runs them.
            tickets: at least one.
            halves: whether tickets that do not fit into memory may be tried once more in halves.
        """
        payloads = [ticket.payload for ticket in tickets]
        started = self._clock()
        try:
            rankings = model.run([payload.content for payload in payloads], max(payload.top_k for payload in payloads))
            pairs = list(zip(tickets, rankings, strict=True))
        except Exception as error:  # the boundary: whatever a model raises must not end the thread
            failed = FailedBatch(self._run, model, tickets, log_failure(model, tickets, error), self._clock)
            rerun = failed.run_halves if isinstance(error, OutOfMemory) else failed.run_one_by_one
        else:
            seconds = self._clock() - started
            return [
                ItemOutcome(ticket, _checked(model, ranking, ticket.payload.top_k), len(tickets), seconds)
                for ticket, ranking in pairs
            ]
        return rerun(halves)  # out here the memory of the failed run is free again


def _checked(model: Model, ranking: Ranking, top_k: int) -> Ranking | RequestError:
    """Cuts a ranking to what its caller wants; a model that gives no numbers has failed for that image."""
    if ranking.is_finite:
        return Ranking(ranking.indices[:top_k], ranking.probabilities[:top_k])
    reference = uuid.uuid4().hex[:12]
    logger.error("model %s gave probabilities that are no numbers [%s]", model_label(model), reference)
    return InternalFailure(
        f"model {model_label(model)} gave no numbers for this image (log reference {reference})", reference
    )
