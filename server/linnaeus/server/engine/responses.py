"""Converts the outcomes of devices into answers and metrics. Belongs to the event loop's thread."""

from linnaeus.server.errors import RequestError
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.model_store.model_description import ModelDescription
from linnaeus.server.requests.request import (
    Classification,
    ItemOutcome,
    RequestTicket,
    RequestTimings,
    ResultFuture,
    TimedRanking,
)
from linnaeus.server.runtime.ranking import Ranking


def complete(future: ResultFuture, result: TimedRanking | RequestError) -> None:
    """Completes a request's future with its result, unless the future is done."""
    if future.done():
        return
    if isinstance(result, RequestError):
        future.set_exception(result)
    else:
        future.set_result(result)


def timed_ranking(item: ItemOutcome, ranking: Ranking) -> TimedRanking:
    """Returns the ranking with its timings; the queue time is the waits for a decoder and for the device together."""
    ticket, decode_seconds = item.ticket, item.ticket.payload.decode_seconds
    waited = ticket.taken_at - ticket.admitted_at - decode_seconds
    return TimedRanking(ranking, item.batch_size, decode_seconds, waited, item.inference_seconds)


def request_timings(
    ticket: RequestTicket, timed_ranking: TimedRanking, finished_at: float, now: float
) -> RequestTimings:
    """Returns the timings of one answered request.

    Args:
        ticket: the request's ticket.
        timed_ranking: the request's ranking.
        finished_at: end of the run, in seconds of the engine's clock.
        now: time of the same clock.
    """
    return RequestTimings(
        decode_seconds=timed_ranking.decode_seconds,
        queue_seconds=timed_ranking.queue_seconds,
        inference_seconds=timed_ranking.inference_seconds,
        respond_seconds=now - finished_at,
        total_seconds=now - ticket.admitted_at,
        prediction_error_seconds=None if ticket.predicted_at is None else now - ticket.predicted_at,
    )


def classification(entry: Entry, model: ModelDescription, timed_ranking: TimedRanking) -> Classification:
    """Returns the answer made of a ranking and its model's labels."""
    return Classification(
        timed_ranking.ranking,
        model.labels,
        entry.name,
        entry.version,
        timed_ranking.batch_size,
        timed_ranking.decode_seconds,
        timed_ranking.queue_seconds,
        timed_ranking.inference_seconds,
    )
