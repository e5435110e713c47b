"""A stream of batches on a device: it pulls them, runs them and hands the outcomes back.

It must not know who waits for the answers, nor how they are spoken of on the wire.
"""

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol

from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.process.thread_priority import step_back
from linnaeus.server.requests.lane import Lane
from linnaeus.server.requests.refusals import too_late
from linnaeus.server.requests.request import BatchOutcome, ItemOutcome, Work, WorkBatch, WorkTicket, lane_of
from linnaeus.server.runtime.model import Model, OutOfMemory, Ranking
from linnaeus.server.scheduling import BatchQueue, Stage

logger = logging.getLogger(__name__)


class Host(Protocol):
    """What a stream asks of those around it; called from the stream's thread, must not block."""

    def model(self, lane: Lane) -> Model:
        """The lane's model on the stream's device."""

    def share_cores(self, batch: WorkBatch) -> None:
        """A batch is about to run."""

    def began(self, batch: WorkBatch) -> None:
        """A batch was taken."""

    def hand_back(self, batch: WorkBatch, outcome: BatchOutcome) -> None:
        """A batch is done with."""

    def is_lost(self, batch: WorkBatch, failed: bool) -> bool:
        """Whether the device is beyond help, now that a batch went through or `failed` altogether."""

    def lose(self, batch: WorkBatch) -> None:
        """The device is to be taken out; the batch waits for another."""


class DeviceStream:
    """Runs batches, one at a time, until the queue is closed and empty or the device is lost.

    It has a thread of its own, or runs what waits on the thread of whoever asks. Several of them may share a device.

    Contract: every ticket that the queue hands out comes back in exactly one outcome, or goes back to the queue because
    the device is lost. A run that raises is logged, then its images are tried again one by one, so that only a guilty
    one fails; one that needs more memory than there is, in halves. The stream goes on.

    Args:
        device: whose stream it is.
        queue: where batches come from.
        host: whom it asks.
        clock: the queue's clock.
    """

    def __init__(self, device: str, queue: BatchQueue[Work], host: Host, clock: Callable[[], float]) -> None:
        self._device = device
        self._queue = queue
        self._host = host
        self._clock = clock

    def start(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """Begins to pull on a thread of its own; the future ends on the loop when the thread does."""
        ended = loop.create_future()
        threading.Thread(target=self._pull, args=(loop, ended), name=f"linnaeus-{self._device}", daemon=True).start()
        return ended

    def run_what_waits(self) -> bool:
        """Runs what the queue has for the device now, on the calling thread; returns whether there was anything."""
        batch = first = self._queue.take_nowait(self._device)
        while batch is not None and (learn := self._serve(batch)) is not None:
            batch = self._queue.take_nowait(self._device, batch, learn)
        return first is not None

    def _pull(self, loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]") -> None:
        step_back()
        batch = self._queue.take(self._device)
        while batch is not None and (learn := self._serve(batch)) is not None:
            batch = self._queue.take(self._device, batch, learn)
        loop.call_soon_threadsafe(ended.set_result, None)

    def _serve(self, batch: WorkBatch) -> bool | None:
        """Runs a batch and hands it back.

        Returns:
            Whether the time it took tells of the next ones; None if the device is lost.
        """
        self._host.began(batch)
        started = self._clock()
        ran = self._execute(batch)
        failures = sum(isinstance(item.result, InternalFailure) for item in ran)
        went_through = any(isinstance(item.result, Ranking) for item in ran)
        if ran and self._host.is_lost(batch, failed=failures > 0 and not went_through):
            self._host.hand_back(batch, self._outcome(batch, started, []))
            self._host.lose(batch)
            return None
        self._host.hand_back(batch, self._outcome(batch, started, ran))
        return not failures and all(item.batch_size == len(batch.tickets) for item in ran)

    def _execute(self, batch: WorkBatch) -> list[ItemOutcome]:
        if not batch.tickets:
            return []
        self._host.share_cores(batch)
        return self._run(self._host.model(lane_of(batch)), batch.tickets)

    def _outcome(self, batch: WorkBatch, started: float, ran: list[ItemOutcome]) -> BatchOutcome:
        late = [self._late(ticket) for ticket in batch.late]
        finished = self._clock()
        seconds = finished - started if ran else 0.0
        return BatchOutcome(lane_of(batch), self._device, len(ran), seconds, late + ran, finished)

    def _run(self, model: Model, tickets: Sequence[WorkTicket], halves: bool = True) -> list[ItemOutcome]:
        """Runs the tickets together; if that fails, in smaller parts.

        Args:
            model: what runs them.
            tickets: at least one.
            halves: whether tickets that do not fit into memory may be tried once more in halves.
        """
        works = [ticket.payload for ticket in tickets]
        started = self._clock()
        try:
            rankings = model.run([work.content for work in works], max(work.top_k for work in works))
            pairs = list(zip(tickets, rankings, strict=True))
        except Exception as error:  # the boundary: whatever a model raises must not end the thread
            reference = _log_failure(model, tickets, error)
            smaller = self._out_of_memory if isinstance(error, OutOfMemory) else self._failed
        else:
            seconds = self._clock() - started
            return [
                ItemOutcome(ticket, _checked(model, ranking, ticket.payload.top_k), len(tickets), seconds)
                for ticket, ranking in pairs
            ]
        return smaller(model, tickets, reference, halves)  # out here the failed run's memory is free again

    def _failed(self, model: Model, tickets: Sequence[WorkTicket], reference: str, halves: bool) -> list[ItemOutcome]:
        if len(tickets) == 1:
            message = f"model {_called(model)} failed on this image; the server's log has the cause under {reference}"
            return [ItemOutcome(tickets[0], InternalFailure(message, reference), 1, 0.0)]
        return [outcome for ticket in tickets for outcome in self._retry(model, [ticket], halves)]

    def _out_of_memory(
        self, model: Model, tickets: Sequence[WorkTicket], reference: str, halves: bool
    ) -> list[ItemOutcome]:
        middle = (len(tickets) + 1) // 2
        if halves and middle < len(tickets):
            parts = tickets[:middle], tickets[middle:]
            return [outcome for part in parts for outcome in self._retry(model, part, halves=False)]
        message = f"the device has too little memory left for model {_called(model)} (log reference {reference})"
        return [ItemOutcome(ticket, InternalFailure(message, reference), 1, 0.0) for ticket in tickets]

    def _retry(self, model: Model, tickets: Sequence[WorkTicket], halves: bool) -> list[ItemOutcome]:
        """Runs those again that somebody still waits for, and that are not late by now."""
        now = self._clock()
        gone = [ticket for ticket in tickets if ticket.stage is Stage.GONE]
        late = [ticket for ticket in tickets if ticket not in gone and not ticket.before(now)]
        rest = [ticket for ticket in tickets if ticket not in gone and ticket not in late]
        ended = [ItemOutcome(ticket, _GONE, 1, 0.0) for ticket in gone] + [self._late(ticket) for ticket in late]
        return ended + (self._run(model, rest, halves) if rest else [])

    def _late(self, ticket: WorkTicket) -> ItemOutcome:
        return ItemOutcome(ticket, too_late(ticket, self._clock(), "waited for the device"), 0, 0.0)


_GONE = RequestError("the caller left")


def _log_failure(model: Model, tickets: Sequence[WorkTicket], error: Exception) -> str:
    reference = uuid.uuid4().hex[:12]
    logger.error("model %s failed on a batch of %d [%s]", _called(model), len(tickets), reference, exc_info=error)
    return reference


def _called(model: Model) -> str:
    return f"{model.manifest.name}/{model.manifest.version}"


def _checked(model: Model, ranking: Ranking, top_k: int) -> Ranking | RequestError:
    """Cuts a ranking to what its caller wants; a model that gives no numbers has failed for that image."""
    if ranking.is_finite:
        return Ranking(ranking.indices[:top_k], ranking.probabilities[:top_k])
    reference = uuid.uuid4().hex[:12]
    logger.error("model %s gave probabilities that are no numbers [%s]", _called(model), reference)
    return InternalFailure(
        f"model {_called(model)} gave no numbers for this image (log reference {reference})", reference
    )
