"""The request log: one line per sampled request that has ended, without image contents, tokens and addresses."""

import logging

from linnaeus.server.observability.sampling import is_sampled
from linnaeus.server.requests.request_record import BatchRecord, RequestRecord
from linnaeus.server.rpc.trace_context import CallContext, current_call

logger = logging.getLogger(__name__)


class RequestLog:
    """A `RecordHandler` that logs a share of the requests at level info.

    Args:
        share: the share of requests to log, from 0.0 to 1.0.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def sample(self, number: int) -> object | None:
        """Returns the context of the current call if the request is sampled, else None."""
        return current_call() if is_sampled(number, self._share) else None

    def request_ended(self, context: object, record: RequestRecord) -> None:
        """Logs the request."""
        if isinstance(context, CallContext):
            fields = _fields(context, record)
            sentence = "request %d of %s/%d: %s after %.3f ms"
            arguments = (record.number, record.model or "no model", record.version, record.outcome, fields["total_ms"])
            logger.info(sentence, *arguments, extra={"event": fields})

    def batch_ended(self, batch: BatchRecord) -> None:
        """Does nothing: batches are not logged."""


def _fields(call: CallContext, record: RequestRecord) -> dict[str, object]:
    batch = record.batch
    return {
        "event": "request",
        "request": record.number,
        "method": call.method,
        "model": record.model,
        "version": record.version,
        "outcome": record.outcome,
        "total_ms": _milliseconds(record.ended_at - record.arrived_at),
        **{f"{name}_ms": _milliseconds(ended_at - began_at) for name, began_at, ended_at in record.stages()},
        "batch": batch and batch.number,
        "batch_size": batch and batch.size,
        "image_bytes": record.image_bytes,
        "priority": record.priority.name.lower(),
        "deadline_ms": None if record.timeout_seconds is None else _milliseconds(record.timeout_seconds),
        "caller": call.caller_kind,
        "trace_id": call.trace_id,
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)
