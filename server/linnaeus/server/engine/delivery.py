"""From the threads of decoders and devices to the event loop: what became of images, told to who waits or counts."""

import asyncio
from collections.abc import Callable, Iterable

from linnaeus.server.engine import responses
from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.requests.event_log import Trace
from linnaeus.server.requests.observer import Observer, rejection_reason
from linnaeus.server.requests.refusals import no_device
from linnaeus.server.requests.request import BatchOutcome, BatchReport, Work, WorkBatch, WorkTicket, lane_of
from linnaeus.server.requests.request_record import Follower, Run
from linnaeus.server.runtime.model import Ranking
from linnaeus.server.scheduling import BatchQueue


class Delivery:
    """Brings outcomes home. Its public methods may be called from any thread; a batch takes one step of the loop.

    Args:
        queue: where the images come from.
        observer: is told of each batch, on the event loop.
        trace: gets a line for each thing that happens.
        clock: the queue's clock.
        follower: of requests; None for nobody, which costs nothing.
    """

    def __init__(
        self,
        queue: BatchQueue[Work],
        observer: Observer,
        trace: Trace,
        clock: Callable[[], float],
        follower: Follower | None = None,
    ) -> None:
        self._queue = queue
        self._observer = observer
        self._trace = trace
        self._clock = clock
        self._follower = follower
        self._loop = asyncio.get_running_loop()

    def give_up(self, ticket: WorkTicket, error: RequestError) -> None:
        """Ends an image that will not reach a device."""
        self._queue.abandon(ticket, left=False)
        self._trace.write("dropped", self._clock(), request=ticket.payload.number, reason=rejection_reason(error))
        self._loop.call_soon_threadsafe(responses.settle, ticket.payload.answer, error)

    def began(self, batch: WorkBatch) -> None:
        """Notes a batch that begins."""
        if batch.tickets:
            lane = lane_of(batch)
            numbers = [ticket.payload.number for ticket in batch.tickets]
            told = {"batch": batch.number, "device": batch.device, "model": lane.model, "version": lane.version}
            self._trace.write("batch", batch.taken_at, **told, requests=numbers)
            if self._follower is not None:
                _begin_run(batch)
        for ticket in batch.late:
            self._trace.write("dropped", batch.taken_at, request=ticket.payload.number, reason="deadline")

    def hand_back(self, batch: WorkBatch, outcome: BatchOutcome) -> None:
        """Delivers a batch that was run."""
        if outcome.size:
            failed = any(isinstance(item.result, InternalFailure) for item in outcome.items)
            self._trace.write("ran", outcome.finished_at, batch=batch.number, succeeded=not failed)
        run = None if self._follower is None else _end_run(batch, outcome)
        self._loop.call_soon_threadsafe(self._deliver, outcome, run)

    def strand(self, tickets: Iterable[WorkTicket]) -> None:
        """Ends the images that no device is left for."""
        for ticket in tickets:
            self._loop.call_soon_threadsafe(responses.settle, ticket.payload.answer, no_device(lane_of(ticket).model))

    def _deliver(self, outcome: BatchOutcome, run: Run | None) -> None:
        now = self._clock()
        reports = []
        for item in outcome.items:
            if item.ticket.payload.answer.done():
                continue  # its caller left
            if isinstance(item.result, Ranking):
                ranked = responses.ranked(item, item.result)
                responses.settle(item.ticket.payload.answer, ranked)
                reports.append(responses.report(item.ticket, ranked, outcome.finished_at, now))
            else:
                responses.settle(item.ticket.payload.answer, item.result)
        self._queue.answered([item.ticket for item in outcome.items])
        failed = sum(isinstance(item.result, InternalFailure) for item in outcome.items)
        lane = outcome.lane
        report = BatchReport(
            lane.model, lane.version, outcome.size, reports, failed, outcome.device, outcome.inference_seconds
        )
        self._observer.batch(report)
        if run is not None and self._follower is not None:
            self._follower.ran(run)


def _begin_run(batch: WorkBatch) -> None:
    """Lets every image of a batch know its run."""
    lane = lane_of(batch)
    run = Run(batch.number, lane.model, lane.version, batch.device, len(batch.tickets), batch.taken_at)
    for ticket in batch.tickets:
        ticket.payload.run = run


def _end_run(batch: WorkBatch, outcome: BatchOutcome) -> Run | None:
    """Ends a batch's run, before another device may take images that a lost one gives back; None if all were late."""
    run = batch.tickets[0].payload.run if batch.tickets else None
    if run is None:
        return None
    run.finished_at = outcome.finished_at
    run.succeeded = outcome.size > 0 and not any(isinstance(item.result, InternalFailure) for item in outcome.items)
    if not outcome.size:
        for ticket in batch.tickets:
            ticket.payload.run = None
    return run
