"""A worker of a device: takes batches from the queue, runs them and delivers the outcomes.

This module must not know callers or gRPC.
"""

import asyncio
import logging
import uuid
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from operator import neg
from typing import Protocol

from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.execution.failed_batch import FailedBatch, full_name, late_outcome, log_failure
from linnaeus.server.process.supervised_thread import SupervisedThread
from linnaeus.server.process.supervisor import Supervisor
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

# The name of workers in reports of faults.
WORKER_PART = "device_worker"


class WorkerContext(Protocol):
    """The services that a worker needs. Called on the thread that runs batches; must not block."""

    def model(self, lane: LaneKey) -> Model:
        """Returns the lane's model on the worker's device."""

    def share_cores(self, batch: RequestBatch) -> None:
        """Sets the number of cores for a batch that is about to run."""

    def batch_started(self, batch: RequestBatch) -> None:
        """Handles a batch that was taken from the queue."""

    def batch_finished(self, batch: RequestBatch, outcome: BatchOutcome) -> None:
        """Handles the outcome of a batch."""

    def must_remove_device(self, batch: RequestBatch, failed: bool) -> bool:
        """Returns whether to remove the device; `failed` is whether no image of the batch got a ranking."""

    def must_remove_after_escape(self, batch: RequestBatch) -> bool:
        """Returns whether to remove the device, after a fault outside the run of a batch."""

    def remove_device(self, batch: RequestBatch | None) -> None:
        """Removes the device and returns the batch, if any, to the queue for another device."""

    def batch_lost(self, batch: RequestBatch, error: InternalFailure) -> None:
        """Answers all callers of a batch whose outcome could not be handled."""


class DeviceWorker:
    """A worker that runs batches one at a time, until the queue is closed and empty or the device is removed.

    `start` runs it on a thread of its own; `run_short` runs a batch on the calling thread. A device may have several.

    Invariants:
        1. Every ticket taken from the queue ends in exactly one outcome, or returns to the queue because the device is
           removed.
        2. A run that raises is logged and does not end the worker. Its images are rerun one by one, so that only those
           at fault fail; after an out-of-memory error they are rerun in halves.
        3. A fault outside the run is reported and fails its batch, or removes the device as if the batch had failed
           on it. A fault without a batch restarts the worker; if it keeps failing, the device is removed.

    Args:
        device: name of the device.
        queue: source of the batches.
        context: the worker's services.
        clock: the queue's clock, in seconds.
        supervisor: receives faults outside the runs.
    """

    def __init__(
        self,
        device: str,
        queue: BatchQueue[RequestPayload],
        context: WorkerContext,
        clock: Callable[[], float],
        supervisor: Supervisor,
    ) -> None:
        self._device = device
        self._queue = queue
        self._context = context
        self._clock = clock
        self._supervisor = supervisor

    def start(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """Starts the worker's thread; returns a future of `loop` that completes when the thread ends.

        Raises:
            RuntimeError: if the process may have no more threads.
        """
        ended = loop.create_future()
        SupervisedThread(
            f"linnaeus-{self._device}",
            WORKER_PART,
            self._run_until_closed,
            self._supervisor,
            give_up=partial(self._context.remove_device, None),
            prepare=lower_priority,
            on_end=partial(loop.call_soon_threadsafe, ended.set_result, None),
        ).start()
        return ended

    def run_short(self) -> bool:
        """Runs one batch of a lane with short runs on the calling thread, if one is due; returns whether it did."""
        batch = self._queue.take_short(self._device)
        if batch is None:
            return False
        learn = self._process(batch)
        if learn is not None:
            self._queue.finish(batch, learn)
        return True

    def _run_until_closed(self) -> None:
        batch = self._queue.take(self._device)
        while batch is not None and (learn := self._process(batch)) is not None:
            batch = self._queue.take(self._device, batch, learn)

    def _process(self, batch: RequestBatch) -> bool | None:
        """Runs a batch and reports its outcome, whatever fails.

        Returns:
            Whether the batch's time may update the latency table; None if the device was removed.
        """
        try:
            return self._run_and_report(batch)
        except BaseException as error:  # no fault may end the worker and leave the callers of its batch without answer
            return self._answer_for(batch, error)

    def _run_and_report(self, batch: RequestBatch) -> bool | None:
        self._context.batch_started(batch)
        started = self._clock()
        ran = self._execute(batch)
        failures = sum(isinstance(item.result, InternalFailure) for item in ran)
        any_ranked = any(isinstance(item.result, Ranking) for item in ran)
        if ran and self._must_remove_device(batch, failed=failures > 0 and not any_ranked):
            self._context.batch_finished(batch, self._outcome(batch, started, []))
            self._context.remove_device(batch)
            return None
        self._context.batch_finished(batch, self._outcome(batch, started, ran))
        return not failures and all(item.batch_size == len(batch.tickets) for item in ran)

    def _must_remove_device(self, batch: RequestBatch, failed: bool) -> bool:
        try:
            return self._context.must_remove_device(batch, failed)
        except BaseException as error:  # what ran has its results, even where the device cannot be judged
            self._supervisor.report(WORKER_PART, error)
            return self._must_remove_after_escape(batch)

    def _answer_for(self, batch: RequestBatch, error: BaseException) -> bool | None:
        """Fails a batch after a fault outside its run, or removes the device; returns like `_process`."""
        reference = self._supervisor.report(WORKER_PART, error)
        failure = InternalFailure(f"the server failed on this image (log reference {reference})", reference)
        must_remove = self._must_remove_after_escape(batch)
        failed = [] if must_remove else [ItemOutcome(ticket, failure, 0, 0.0) for ticket in batch.tickets]
        try:
            self._context.batch_finished(batch, self._outcome(batch, self._clock(), failed))
        except BaseException as second:  # reporting the batch fails, too: its callers still get an answer
            self._supervisor.report(WORKER_PART, second)
            self._context.batch_lost(batch, failure)
        if must_remove:
            self._context.remove_device(batch)
            return None
        return False

    def _must_remove_after_escape(self, batch: RequestBatch) -> bool:
        try:
            return self._context.must_remove_after_escape(batch)
        except BaseException as error:  # a device that cannot be judged is kept
            self._supervisor.report(WORKER_PART, error)
            return False

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
        """Runs the tickets in one batch; if that fails, in smaller ones.

        Args:
            model: the model to run.
            tickets: at least one ticket.
            halves: whether to rerun the tickets in halves after an out-of-memory error.
        """
        payloads = [ticket.payload for ticket in tickets]
        started = self._clock()
        try:
            contents, k = [payload.content for payload in payloads], max(payload.top_k for payload in payloads)
            rankings = model.run(contents, k, any(payload.want_features for payload in payloads))
            pairs = list(zip(tickets, rankings, strict=True))
        except BaseException as error:  # no error of a model may end the thread, nor SystemExit
            failed = FailedBatch(self._run, model, tickets, log_failure(model, tickets, error), self._clock)
            rerun = failed.run_halves if isinstance(error, OutOfMemory) else failed.run_one_by_one
        else:
            seconds = self._clock() - started
            return [
                ItemOutcome(ticket, _checked(model, ranking, ticket.payload), len(tickets), seconds)
                for ticket, ranking in pairs
            ]
        return rerun(halves)  # outside the handler, where the failed run's memory is free again


def _checked(model: Model, ranking: Ranking, payload: RequestPayload) -> Ranking | RequestError:
    """Returns what the request wants of a ranking, or an error if a probability is not finite."""
    if ranking.is_finite:
        count = payload.top_k
        if payload.min_probability:
            count = min(count, _count_at_least(payload.min_probability, ranking.probabilities))
        features = ranking.features if payload.want_features else b""
        return Ranking(ranking.indices[:count], ranking.probabilities[:count], features)
    reference = uuid.uuid4().hex[:12]
    logger.error("model %s gave probabilities that are no numbers [%s]", full_name(model), reference)
    return InternalFailure(
        f"model {full_name(model)} gave no numbers for this image (log reference {reference})", reference
    )


def _count_at_least(bound: float, descending: Sequence[float]) -> int:
    return bisect_right(descending, -bound, key=neg)
