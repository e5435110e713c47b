"""Delivers results from the threads of decoders and devices to the event loop, for callers, metrics and records.

This module must not know callers or gRPC.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

from linnaeus.server.engine import responses
from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.process.supervisor import ESCAPES, Supervisor
from linnaeus.server.requests.event_log import EventLog
from linnaeus.server.requests.observer import Observer, rejection_reason
from linnaeus.server.requests.refusals import no_device
from linnaeus.server.requests.request import (
    BatchOutcome,
    BatchReport,
    ItemOutcome,
    RequestBatch,
    RequestPayload,
    RequestTicket,
    RequestTimings,
    lane_key_of,
)
from linnaeus.server.requests.request_record import BatchRecord, RecordHandler
from linnaeus.server.runtime.ranking import Ranking
from linnaeus.server.scheduling import BatchQueue

# The name of the delivery in reports of faults.
DELIVERY_PART = "result_delivery"


class ResultDelivery:
    """A channel from other threads to the event loop. Any thread may call its public methods.

    Invariants:
        1. All results of a batch are delivered in one callback of the event loop.
        2. A request gets its error even if the queue or the event log fails meanwhile; what raised goes to the caller.
        3. A fault at the delivery of one result is reported, fails that request and no other.

    Args:
        queue: the queue of admitted requests.
        observer: receives each batch, on the event loop.
        event_log: receives the events of batches and dropped requests.
        clock: the queue's clock, in seconds.
        supervisor: receives faults of the delivery.
        record_handler: receives records of batches; None for no records.
    """

    def __init__(
        self,
        queue: BatchQueue[RequestPayload],
        observer: Observer,
        event_log: EventLog,
        clock: Callable[[], float],
        supervisor: Supervisor,
        record_handler: RecordHandler | None = None,
    ) -> None:
        self._queue = queue
        self._observer = observer
        self._event_log = event_log
        self._clock = clock
        self._supervisor = supervisor
        self._record_handler = record_handler
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()

    def fail(self, ticket: RequestTicket, error: RequestError) -> None:
        """Ends a request whose image will not reach a device."""
        try:
            self._queue.cancel(ticket, by_caller=False)
            number = ticket.payload.number
            self._event_log.write("dropped", self._clock(), request=number, reason=rejection_reason(error))
        finally:
            self._loop.call_soon_threadsafe(self._complete, ticket, error)

    def batch_started(self, batch: RequestBatch) -> None:
        """Logs a batch that is about to run, and opens its record."""
        if batch.tickets:
            lane = lane_key_of(batch)
            numbers = [ticket.payload.number for ticket in batch.tickets]
            fields = {"batch": batch.number, "device": batch.device, "model": lane.model, "version": lane.version}
            self._event_log.write("batch", batch.taken_at, **fields, requests=numbers)
            if self._record_handler is not None:
                _open_record(batch)
        for ticket in batch.late:
            self._event_log.write("dropped", batch.taken_at, request=ticket.payload.number, reason="deadline")

    def batch_finished(self, batch: RequestBatch, outcome: BatchOutcome) -> None:
        """Logs a batch that was run, closes its record and delivers its results."""
        if outcome.size:
            failed = any(isinstance(item.result, InternalFailure) for item in outcome.items)
            self._event_log.write("ran", outcome.finished_at, batch=batch.number, succeeded=not failed)
        record = None if self._record_handler is None else _close_record(batch, outcome)
        self._on_loop(self._deliver, outcome, record)

    def fail_stranded(self, tickets: Iterable[RequestTicket]) -> None:
        """Ends requests that no device is left for."""
        for ticket in tickets:
            self._loop.call_soon_threadsafe(self._complete, ticket, no_device(lane_key_of(ticket).model))

    def fail_lost(self, tickets: Iterable[RequestTicket], error: InternalFailure) -> None:
        """Ends the requests of a batch whose outcome could not be handled; answers them whatever fails next."""
        tickets = list(tickets)
        for ticket in tickets:
            self._loop.call_soon_threadsafe(self._complete, ticket, error)
        for ticket in tickets:
            self._queue.cancel(ticket, by_caller=False)

    def _on_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Calls a function on the event loop's thread, at once if this is it."""
        if threading.get_ident() == self._loop_thread:
            callback(*arguments)
        else:
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _deliver(self, outcome: BatchOutcome, record: BatchRecord | None) -> None:
        now = self._clock()
        reports = [timings for item in outcome.items if (timings := self._deliver_item(item, outcome, now))]
        self._queue.mark_answered([item.ticket for item in outcome.items])
        failed = sum(isinstance(item.result, InternalFailure) for item in outcome.items)
        lane = outcome.lane
        report = BatchReport(
            lane.model, lane.version, outcome.size, reports, failed, outcome.device, outcome.inference_seconds
        )
        self._observer.batch(report)
        if record is not None and self._record_handler is not None:
            self._record_handler.batch_ended(record)

    def _deliver_item(self, item: ItemOutcome, outcome: BatchOutcome, now: float) -> RequestTimings | None:
        """Completes one request; returns the timings of an answer, None for an error."""
        ticket = item.ticket
        if ticket.payload.future.done():
            return None  # the request expired or was cancelled
        try:
            if isinstance(item.result, Ranking):
                ranked = responses.timed_ranking(item, item.result)
                responses.complete(ticket.payload.future, ranked)
                return responses.request_timings(ticket, ranked, outcome.finished_at, now)
            responses.complete(ticket.payload.future, item.result)
        except ESCAPES as error:
            self._delivery_failed(ticket, error)
        return None

    def _complete(self, ticket: RequestTicket, error: RequestError) -> None:
        """Completes a request that got no answer."""
        try:
            responses.complete(ticket.payload.future, error)
        except ESCAPES as fault:
            self._delivery_failed(ticket, fault)

    def _delivery_failed(self, ticket: RequestTicket, error: BaseException) -> None:
        """Reports a fault at the delivery of a result, and fails its request unless it has ended."""
        reference = self._supervisor.report(DELIVERY_PART, error)
        failure = InternalFailure(f"the server failed on this answer (log reference {reference})", reference)
        responses.complete(ticket.payload.future, failure)


def _open_record(batch: RequestBatch) -> None:
    """Sets the record of a batch on each of its requests."""
    lane = lane_key_of(batch)
    record = BatchRecord(batch.number, lane.model, lane.version, batch.device, len(batch.tickets), batch.taken_at)
    for ticket in batch.tickets:
        ticket.payload.batch = record


def _close_record(batch: RequestBatch, outcome: BatchOutcome) -> BatchRecord | None:
    """Completes and returns the record of a batch, before another device may take its images; None if all were late."""
    record = batch.tickets[0].payload.batch if batch.tickets else None
    if record is None:
        return None
    record.finished_at = outcome.finished_at
    record.succeeded = outcome.size > 0 and not any(isinstance(item.result, InternalFailure) for item in outcome.items)
    if not outcome.size:
        for ticket in batch.tickets:
            ticket.payload.batch = None
    return record
