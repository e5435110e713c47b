"""From a device's outcome to what the caller and the metrics get. Belongs to the event loop's thread."""

from linnaeus.server.errors import RequestError
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.requests.request import (
    Answer,
    Classification,
    ItemOutcome,
    Ranked,
    RequestReport,
    WorkTicket,
)
from linnaeus.server.runtime.model import Model, Ranking


def settle(answer: Answer, result: Ranked | RequestError) -> None:
    """Gives the waiting caller its result, unless it has left."""
    if answer.done():
        return
    if isinstance(result, RequestError):
        answer.set_exception(result)
    else:
        answer.set_result(result)


def ranked(item: ItemOutcome, ranking: Ranking) -> Ranked:
    """Says how long an image that was run had to wait; waiting for a decoder and for the device count together."""
    ticket, decode_seconds = item.ticket, item.ticket.payload.decode_seconds
    waited = ticket.taken_at - ticket.admitted_at - decode_seconds
    return Ranked(ranking, item.batch_size, decode_seconds, waited, item.inference_seconds)


def report(ticket: WorkTicket, ranked: Ranked, finished_at: float, now: float) -> RequestReport:
    """What the metrics learn of one answered image; `now` and `finished_at` are the engine clock's times."""
    return RequestReport(
        decode_seconds=ranked.decode_seconds,
        queue_seconds=ranked.queue_seconds,
        inference_seconds=ranked.inference_seconds,
        respond_seconds=now - finished_at,
        total_seconds=now - ticket.admitted_at,
        prediction_error_seconds=now - ticket.predicted_at,
    )


def classification(entry: Entry, model: Model, ranked: Ranked) -> Classification:
    """Gives the ranking its labels."""
    return Classification(
        ranked.ranking,
        model.labels,
        entry.name,
        entry.version,
        ranked.batch_size,
        ranked.decode_seconds,
        ranked.queue_seconds,
        ranked.inference_seconds,
    )
