"""From a device's outcome to what the caller and the metrics get. Belongs to the event loop's thread."""

from linnaeus.server.errors import RequestError
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.requests.request import (
    Classification,
    ItemOutcome,
    RequestTicket,
    RequestTimings,
    ResultFuture,
    TimedRanking,
)
from linnaeus.server.runtime.model import Model, Ranking


def complete(future: ResultFuture, result: TimedRanking | RequestError) -> None:
    """Gives the waiting caller its result, unless it has left."""
    if future.done():
        return
    if isinstance(result, RequestError):
        future.set_exception(result)
    else:
        future.set_result(result)


def timed_ranking(item: ItemOutcome, ranking: Ranking) -> TimedRanking:
    """Says how long an image that was run had to wait; waiting for a decoder and for the device count together."""
    ticket, decode_seconds = item.ticket, item.ticket.payload.decode_seconds
    waited = ticket.taken_at - ticket.admitted_at - decode_seconds
    return TimedRanking(ranking, item.batch_size, decode_seconds, waited, item.inference_seconds)


def request_timings(
    ticket: RequestTicket, timed_ranking: TimedRanking, finished_at: float, now: float
) -> RequestTimings:
    """What the metrics learn of one answered image; `now` and `finished_at` are the engine clock's times."""
    return RequestTimings(
        decode_seconds=timed_ranking.decode_seconds,
        queue_seconds=timed_ranking.queue_seconds,
        inference_seconds=timed_ranking.inference_seconds,
        respond_seconds=now - finished_at,
        total_seconds=now - ticket.admitted_at,
        prediction_error_seconds=now - ticket.predicted_at,
    )


def classification(entry: Entry, model: Model, timed_ranking: TimedRanking) -> Classification:
    """Gives the ranking its labels."""
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
