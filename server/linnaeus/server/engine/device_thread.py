"""The thread that feeds a device: it pulls batches, runs them and hands the outcomes back.

It must not know who waits for the answers, nor how they are spoken of on the wire.
"""

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable, Sequence

from linnaeus.server.batching import BatchQueue, Stage
from linnaeus.server.engine.catalog import Lane
from linnaeus.server.engine.work import BatchOutcome, ItemOutcome, Work, WorkBatch, WorkTicket
from linnaeus.server.errors import DeadlineExceeded, InternalFailure, RequestError
from linnaeus.server.runtime.model import Model, Ranking

logger = logging.getLogger(__name__)


class DeviceThread:
    """Runs batches, one at a time, until the queue is closed and empty.

    Several of them may share a queue and a device: each is one stream of batches.

    Contract: every ticket that the queue hands out comes back in exactly one outcome. A run that raises is logged
    once, then its images are tried again one by one, so that only a guilty one fails; the thread lives on.

    Args:
        queue: where batches come from.
        model_of: finds the model of a lane; called from this thread.
        hand_back: takes each outcome; called from this thread, must not block.
        clock: the queue's clock.
        share_cores: told before each run, on this thread, how many other batches are running.
    """

    def __init__(
        self,
        queue: BatchQueue[Work],
        model_of: Callable[[Lane], Model],
        hand_back: Callable[[BatchOutcome], None],
        clock: Callable[[], float],
        share_cores: Callable[[int], None],
    ) -> None:
        self._queue = queue
        self._model_of = model_of
        self._hand_back = hand_back
        self._clock = clock
        self._share_cores = share_cores

    def start(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """Begins to pull; the future ends on the loop once the queue is closed and empty."""
        ended = loop.create_future()
        threading.Thread(target=self._serve, args=(loop, ended), name="linnaeus-device", daemon=True).start()
        return ended

    def _serve(self, loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]") -> None:
        batch: WorkBatch | None = None
        while (batch := self._queue.take(batch)) is not None:
            self._share_cores(batch.beside)
            self._hand_back(self._execute(batch))
        loop.call_soon_threadsafe(ended.set_result, None)

    def _execute(self, batch: WorkBatch) -> BatchOutcome:
        lane: Lane = batch.lane  # type: ignore[assignment]  # every lane is opened by the engine, under this type
        items = [self._late(ticket) for ticket in batch.late]
        started = self._clock()
        if batch.tickets:
            items += self._run(self._model_of(lane), batch.tickets)
        finished = self._clock()
        seconds = finished - started if batch.tickets else 0.0
        return BatchOutcome(lane, len(batch.tickets), seconds, items, finished)

    def _run(self, model: Model, tickets: Sequence[WorkTicket]) -> list[ItemOutcome]:
        """Runs the tickets together; if that fails, each by itself."""
        works = [ticket.content for ticket in tickets]
        started = self._clock()
        try:
            rankings = model.run([work.pixels for work in works], max(work.top_k for work in works))
        except Exception as error:  # the boundary: whatever a model raises must not end the thread
            return self._failed(model, tickets, error)
        seconds = self._clock() - started
        return [
            ItemOutcome(ticket, work, _checked(model, ranking, work.top_k), len(tickets), seconds)
            for ticket, work, ranking in zip(tickets, works, rankings, strict=True)
        ]

    def _failed(self, model: Model, tickets: Sequence[WorkTicket], error: Exception) -> list[ItemOutcome]:
        reference = uuid.uuid4().hex[:12]
        called = f"{model.manifest.name}/{model.manifest.version}"
        logger.error("model %s failed on a batch of %d [%s]", called, len(tickets), reference, exc_info=error)
        if len(tickets) == 1:
            message = f"model {called} failed on this image; the server's log has the cause under {reference}"
            return [ItemOutcome(tickets[0], tickets[0].content, InternalFailure(message, reference), 1, 0.0)]
        return [outcome for ticket in tickets for outcome in self._retry(model, ticket)]

    def _retry(self, model: Model, ticket: WorkTicket) -> list[ItemOutcome]:
        if ticket.deadline is not None and ticket.deadline <= self._clock():
            return [self._late(ticket)]
        if ticket.stage is Stage.GONE:  # its caller left: nobody waits for the answer
            return [ItemOutcome(ticket, ticket.content, _GONE, 1, 0.0)]
        return self._run(model, [ticket])

    def _late(self, ticket: WorkTicket) -> ItemOutcome:
        late_by = self._clock() - (ticket.deadline or 0.0)
        message = "the deadline passed while the image waited for the device; allow more time or send less"
        return ItemOutcome(ticket, ticket.content, DeadlineExceeded(message, late_by), 0, 0.0)


_GONE = RequestError("the caller left")


def _checked(model: Model, ranking: Ranking, top_k: int) -> Ranking | RequestError:
    """Cuts a ranking to what its caller wants; a model that gives no numbers has failed for that image."""
    if ranking.is_finite:
        return Ranking(ranking.indices[:top_k], ranking.probabilities[:top_k])
    reference = uuid.uuid4().hex[:12]
    called = f"{model.manifest.name}/{model.manifest.version}"
    logger.error("model %s gave probabilities that are no numbers [%s]", called, reference)
    return InternalFailure(f"model {called} gave no numbers for this image (log reference {reference})", reference)
