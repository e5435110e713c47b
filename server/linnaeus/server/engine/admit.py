"""Admission of a request to the queue; translates the queue's exceptions into the caller's errors."""

from linnaeus.server.errors import Overloaded, Unavailable
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.refusals import (
    DRAINING_RETRY_SECONDS,
    SHORTEST_RETRY_SECONDS,
    no_device,
    too_late_to_admit,
    unloaded,
)
from linnaeus.server.requests.request import RequestPayload, RequestTicket
from linnaeus.server.scheduling import (
    BatchQueue,
    DecodeWork,
    LaneClosed,
    NoDevice,
    Priority,
    QueueClosed,
    QueueFull,
    TooLate,
)


def admit(
    queue: BatchQueue[RequestPayload],
    lane: LaneKey,
    payload: RequestPayload,
    deadline: float | None,
    priority: Priority,
    work: DecodeWork | None,
    caller: str,
) -> RequestTicket:
    """Admits a request to the queue, before any work is done for it, and returns its ticket.

    Args:
        queue: the queue.
        lane: the model version.
        payload: what decoders and devices need.
        deadline: on the engine's clock, in seconds; None for no deadline.
        priority: the priority class.
        work: the work of decoding; None if the payload has its pixels.
        caller: identity of the caller; empty if unknown.

    Raises:
        Overloaded: if the model's queue is full.
        DeadlineExceeded: if the answer is predicted to miss the deadline.
        Unavailable: if the server is stopping, the version was unloaded, or no device is left.
    """
    try:
        return queue.admit(lane, payload, deadline, priority, work, caller)
    except QueueFull as full:
        message = f"model {lane.model} has {full.held} images waiting, as many as it may; try again later"
        raise Overloaded(message, max(full.wait_seconds, SHORTEST_RETRY_SECONDS)) from None
    except TooLate as late:
        raise too_late_to_admit(lane.model, late) from None
    except NoDevice:
        raise no_device(lane.model) from None
    except LaneClosed:  # the version was unloaded after it was resolved
        raise unloaded(lane) from None
    except QueueClosed:
        raise Unavailable("the server is stopping; try another one", DRAINING_RETRY_SECONDS) from None
