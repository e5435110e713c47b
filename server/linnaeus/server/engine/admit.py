"""The queue's refusals, said to the caller."""

from linnaeus.server.errors import Overloaded, Unavailable
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.requests.picture import Picture
from linnaeus.server.requests.refusals import (
    DRAINING_RETRY_SECONDS,
    SHORTEST_RETRY_SECONDS,
    no_device,
    too_late_to_admit,
)
from linnaeus.server.requests.request import Request, RequestPayload, RequestTicket
from linnaeus.server.scheduling import BatchQueue, LaneClosed, NoDevice, QueueClosed, QueueFull, TooLate


def admit(queue: BatchQueue[RequestPayload], entry: Entry, request: Request, payload: RequestPayload) -> RequestTicket:
    """Reserves a place for an image, before any work is done.

    Raises:
        Overloaded: the model holds as many images as it may.
        DeadlineExceeded: the answer would come too late.
        Unavailable: the server is stopping, or no device is left.
    """
    try:
        return queue.admit(
            entry.lane,
            payload,
            request.deadline,
            request.priority,
            _size(request.image),
            request.caller,
            is_decoded=payload.pixels is not None,
        )
    except QueueFull as full:
        message = f"model {entry.name} has {full.held} images waiting, as many as it may; try again later"
        raise Overloaded(message, max(full.wait_seconds, SHORTEST_RETRY_SECONDS)) from None
    except TooLate as late:
        raise too_late_to_admit(entry.name, late) from None
    except NoDevice:
        raise no_device(entry.name) from None
    except LaneClosed:  # the version was resolved some time ago
        message = f"model {entry.name}/{entry.version} was unloaded or loaded anew meanwhile; try again"
        raise Unavailable(message, SHORTEST_RETRY_SECONDS) from None
    except QueueClosed:
        raise Unavailable("the server is stopping; try another one", DRAINING_RETRY_SECONDS) from None


def _size(image: Picture) -> int:
    return len(image.data)
