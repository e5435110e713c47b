"""Reports about a request: its record, its fields in the event log, and the version it names for the metrics."""

from linnaeus.server.engine.request_state import RequestState
from linnaeus.server.errors import RequestError
from linnaeus.server.model_store.catalog import Catalog
from linnaeus.server.requests.event_log import EventLog
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.observer import rejection_reason
from linnaeus.server.requests.request import Priority, Request
from linnaeus.server.requests.request_record import RequestRecord

# The name of the reports on requests, to metrics, traces and logs, in reports of faults.
REPORT_PART = "request_reports"


def record_of(state: RequestState, catalog: Catalog, outcome: str, now: float) -> RequestRecord:
    """Returns the record of a request that ended at `now` (seconds) with `outcome`."""
    request, ticket, entry = state.request, state.ticket, state.entry
    model, version = named_version(catalog, request) if entry is None else (entry.name, entry.version)
    deadline = request.deadline if ticket is None else ticket.deadline
    return RequestRecord(
        number=state.number,
        model=model,
        version=version,
        outcome=outcome,
        priority=request.priority,
        image_bytes=len(request.image.data),
        timeout_seconds=None if deadline is None else deadline - state.arrived_at,
        arrived_at=state.arrived_at,
        ended_at=now,
        decode_seconds=0.0 if ticket is None else ticket.payload.decode_seconds,
        decoded_at=0.0 if ticket is None else ticket.queued_at,
        batch=None if ticket is None else ticket.payload.batch,
    )


def named_version(catalog: Catalog, request: Request) -> tuple[str, int]:
    """Returns the model and version that a request names; the model is "" and the version 0 if unknown."""
    try:
        entry = catalog.find(request.model, request.version)
    except RequestError:
        return (request.model if catalog.knows(request.model) else "", 0)
    return entry.name, entry.version


def log_refused(
    event_log: EventLog,
    at: float,
    lane: LaneKey,
    number: int,
    priority: Priority,
    deadline: float | None,
    error: RequestError,
) -> None:
    """Writes that a request was not admitted."""
    if event_log.is_on:
        fields = event_fields(lane, number, priority, deadline)
        event_log.write("refused", at, **fields, reason=rejection_reason(error))


def event_fields(lane: LaneKey, number: int, priority: Priority, deadline: float | None) -> dict[str, object]:
    """Returns the fields of a request's `admitted` or `refused` event."""
    return {
        "request": number,
        "model": lane.model,
        "version": lane.version,
        "priority": priority.name.lower(),
        "deadline": deadline,
    }
