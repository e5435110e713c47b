"""Admission of a request to the queue; translates the queue's exceptions into the caller's errors."""

from linnaeus.server.errors import Overloaded, Unavailable
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.requests.refusals import (
    DRAINING_RETRY_SECONDS,
    SHORTEST_RETRY_SECONDS,
    no_device,
    too_late_to_admit,
)
from linnaeus.server.requests.request import Request, RequestPayload, RequestTicket
from linnaeus.server.requests.request_queue import RequestQueue
from linnaeus.server.scheduling import DecodeWork, LaneClosed, NoDevice, QueueClosed, QueueFull, TooLate


def admit(
    queue: RequestQueue, entry: Entry, request: Request, payload: RequestPayload, work: DecodeWork | None
) -> RequestTicket:
    """Admits a request to the queue, before any work is done for it, and returns its ticket.

    Args:
        queue: the queue.
        entry: the model version.
        request: the request.
        payload: what decoders and devices need.
        work: the work of decoding; None if the payload has its pixels.

    Raises:
        Overloaded: if the model's queue is full.
        DeadlineExceeded: if the answer is predicted to miss the deadline.
        Unavailable: if the server is stopping, the version was unloaded, or no device is left.
    """
    try:
        return queue.admit(
            entry.lane,
            payload,
            request.deadline,
            request.priority,
            work,
            request.caller,
        )
    except QueueFull as full:
        message = f"model {entry.name} has {full.held} images waiting, as many as it may; try again later"
        raise Overloaded(message, max(full.wait_seconds, SHORTEST_RETRY_SECONDS)) from None
    except TooLate as late:
        raise too_late_to_admit(entry.name, late) from None
    except NoDevice:
        raise no_device(entry.name) from None
    except LaneClosed:  # the version was unloaded after it was resolved
        message = f"model {entry.name}/{entry.version} was unloaded or loaded anew meanwhile; try again"
        raise Unavailable(message, SHORTEST_RETRY_SECONDS) from None
    except QueueClosed:
        raise Unavailable("the server is stopping; try another one", DRAINING_RETRY_SECONDS) from None
