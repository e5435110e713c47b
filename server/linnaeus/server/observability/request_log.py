"""The request log: a line for some of the requests that are over. Never what a picture, a token or an address holds."""

import logging

from linnaeus.server.observability.sampling import is_sampled
from linnaeus.server.requests.request_record import BatchRecord, RequestRecord
from linnaeus.server.rpc.trace_context import CallContext, current_call

logger = logging.getLogger(__name__)


class RequestLog:
    """Logs a share of the requests, at the level info; a `RecordHandler`.

    Args:
        share: of the requests, from 0.0 to 1.0.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def sample(self, number: int) -> object | None:
        """Chooses by the number."""
        return current_call() if is_sampled(number, self._share) else None

    def request_ended(self, context: object, record: RequestRecord) -> None:
        """Writes the line."""
        if isinstance(context, CallContext):
            fields = _fields(context, record)
            sentence = "request %d of %s/%d: %s after %.3f ms"
            arguments = (record.number, record.model or "no model", record.version, record.outcome, fields["total_ms"])
            logger.info(sentence, *arguments, extra={"event": fields})

    def batch_ended(self, batch: BatchRecord) -> None:
        """Runs have no lines."""


def _fields(call: CallContext, record: RequestRecord) -> dict[str, object]:
    run = record.batch
    return {
        "event": "request",
        "request": record.number,
        "method": call.method,
        "model": record.model,
        "version": record.version,
        "outcome": record.outcome,
        "total_ms": _milliseconds(record.ended_at - record.arrived_at),
        **{f"{name}_ms": _milliseconds(ended_at - began_at) for name, began_at, ended_at in record.stages()},
        "batch": run and run.number,
        "batch_size": run and run.size,
        "image_bytes": record.image_bytes,
        "priority": record.priority.name.lower(),
        "deadline_ms": None if record.timeout_seconds is None else _milliseconds(record.timeout_seconds),
        "caller": call.caller_kind,
        "trace_id": call.trace_id,
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)
