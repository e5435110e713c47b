"""The request log: a line for some of the requests that are over. Never what a picture, a token or an address holds."""

import logging

from linnaeus.server.observability.sampling import is_chosen
from linnaeus.server.requests.request_record import Journey, Run
from linnaeus.server.rpc.trace_context import Origin, current_origin

logger = logging.getLogger(__name__)


class RequestLog:
    """Logs a share of the requests, at the level info; a follower of the engine.

    Args:
        share: of the requests, from 0.0 to 1.0.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def meet(self, number: int) -> object | None:
        """Chooses by the number."""
        return current_origin() if is_chosen(number, self._share) else None

    def ended(self, mark: object, journey: Journey) -> None:
        """Writes the line."""
        if isinstance(mark, Origin):
            fields = _fields(mark, journey)
            sentence = "request %d of %s/%d: %s after %.3f ms"
            told = (journey.number, journey.model or "no model", journey.version, journey.outcome, fields["total_ms"])
            logger.info(sentence, *told, extra={"event": fields})

    def ran(self, run: Run) -> None:
        """Runs have no lines."""


def _fields(origin: Origin, journey: Journey) -> dict[str, object]:
    run = journey.run
    return {
        "event": "request",
        "request": journey.number,
        "method": origin.method,
        "model": journey.model,
        "version": journey.version,
        "outcome": journey.outcome,
        "total_ms": _milliseconds(journey.ended_at - journey.came_at),
        **{f"{name}_ms": _milliseconds(ended_at - began_at) for name, began_at, ended_at in journey.stages()},
        "batch": run and run.number,
        "batch_size": run and run.size,
        "image_bytes": journey.image_bytes,
        "priority": journey.priority.name.lower(),
        "deadline_ms": None if journey.timeout_seconds is None else _milliseconds(journey.timeout_seconds),
        "caller": origin.caller_kind,
        "trace_id": origin.trace_id,
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)
