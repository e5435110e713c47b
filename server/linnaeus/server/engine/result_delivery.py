"""From the threads of decoders and devices to the event loop: what became of images, told to who waits or counts."""

import asyncio
from collections.abc import Callable, Iterable

from linnaeus.server.engine import responses
from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.requests.event_log import EventLog
from linnaeus.server.requests.observer import Observer, rejection_reason
from linnaeus.server.requests.refusals import no_device
from linnaeus.server.requests.request import (
    BatchOutcome,
    BatchReport,
    RequestBatch,
    RequestPayload,
    RequestTicket,
    lane_key_of,
)
from linnaeus.server.requests.request_record import BatchRecord, RecordHandler
from linnaeus.server.runtime.model import Ranking
from linnaeus.server.scheduling import BatchQueue


class ResultDelivery:
    """Brings outcomes home. Its public methods may be called from any thread; a batch takes one step of the loop.

    Args:
        queue: where the images come from.
        observer: is told of each batch, on the event loop.
        event_log: gets a line for each thing that happens.
        clock: the queue's clock.
        record_handler: of requests; None for nobody, which costs nothing.
    """

    def __init__(
        self,
        queue: BatchQueue[RequestPayload],
        observer: Observer,
        event_log: EventLog,
        clock: Callable[[], float],
        record_handler: RecordHandler | None = None,
    ) -> None:
        self._queue = queue
        self._observer = observer
        self._event_log = event_log
        self._clock = clock
        self._record_handler = record_handler
        self._loop = asyncio.get_running_loop()

    def fail(self, ticket: RequestTicket, error: RequestError) -> None:
        """Ends an image that will not reach a device."""
        self._queue.cancel(ticket, by_caller=False)
        self._event_log.write("dropped", self._clock(), request=ticket.payload.number, reason=rejection_reason(error))
        self._loop.call_soon_threadsafe(responses.complete, ticket.payload.future, error)

    def batch_started(self, batch: RequestBatch) -> None:
        """Notes a batch that begins."""
        if batch.tickets:
            lane = lane_key_of(batch)
            numbers = [ticket.payload.number for ticket in batch.tickets]
            told = {"batch": batch.number, "device": batch.device, "model": lane.model, "version": lane.version}
            self._event_log.write("batch", batch.taken_at, **told, requests=numbers)
            if self._record_handler is not None:
                _open_record(batch)
        for ticket in batch.late:
            self._event_log.write("dropped", batch.taken_at, request=ticket.payload.number, reason="deadline")

    def batch_finished(self, batch: RequestBatch, outcome: BatchOutcome) -> None:
        """Delivers a batch that was run."""
        if outcome.size:
            failed = any(isinstance(item.result, InternalFailure) for item in outcome.items)
            self._event_log.write("ran", outcome.finished_at, batch=batch.number, succeeded=not failed)
        record = None if self._record_handler is None else _close_record(batch, outcome)
        self._loop.call_soon_threadsafe(self._deliver, outcome, record)

    def fail_stranded(self, tickets: Iterable[RequestTicket]) -> None:
        """Ends the images that no device is left for."""
        for ticket in tickets:
            self._loop.call_soon_threadsafe(
                responses.complete, ticket.payload.future, no_device(lane_key_of(ticket).model)
            )

    def _deliver(self, outcome: BatchOutcome, record: BatchRecord | None) -> None:
        now = self._clock()
        reports = []
        for item in outcome.items:
            if item.ticket.payload.future.done():
                continue  # its caller left
            if isinstance(item.result, Ranking):
                ranked = responses.timed_ranking(item, item.result)
                responses.complete(item.ticket.payload.future, ranked)
                reports.append(responses.request_timings(item.ticket, ranked, outcome.finished_at, now))
            else:
                responses.complete(item.ticket.payload.future, item.result)
        self._queue.mark_answered([item.ticket for item in outcome.items])
        failed = sum(isinstance(item.result, InternalFailure) for item in outcome.items)
        lane = outcome.lane
        report = BatchReport(
            lane.model, lane.version, outcome.size, reports, failed, outcome.device, outcome.inference_seconds
        )
        self._observer.batch(report)
        if record is not None and self._record_handler is not None:
            self._record_handler.batch_ended(record)


def _open_record(batch: RequestBatch) -> None:
    """Gives every request of a batch its record."""
    lane = lane_key_of(batch)
    record = BatchRecord(batch.number, lane.model, lane.version, batch.device, len(batch.tickets), batch.taken_at)
    for ticket in batch.tickets:
        ticket.payload.batch = record


def _close_record(batch: RequestBatch, outcome: BatchOutcome) -> BatchRecord | None:
    """Completes the record of a batch, before another device may take its images; None if all were late."""
    record = batch.tickets[0].payload.batch if batch.tickets else None
    if record is None:
        return None
    record.finished_at = outcome.finished_at
    record.succeeded = outcome.size > 0 and not any(isinstance(item.result, InternalFailure) for item in outcome.items)
    if not outcome.size:
        for ticket in batch.tickets:
            ticket.payload.batch = None
    return record
