"""The queue's refusals, said to the caller."""

from linnaeus.server.decoding.decode import Picture
from linnaeus.server.errors import DeadlineExceeded, Overloaded, Unavailable
from linnaeus.server.model_store.catalog import Entry
from linnaeus.server.requests.request import Request, Work, WorkTicket
from linnaeus.server.scheduling import BatchQueue, LaneClosed, NoDevice, QueueClosed, QueueFull, TooLate

_DRAINING_RETRY_SECONDS = 1.0
_SHORTEST_RETRY_SECONDS = 0.01


def admit(queue: BatchQueue[Work], entry: Entry, request: Request, work: Work) -> WorkTicket:
    """Reserves a place for an image, before any work is done.

    Raises:
        Overloaded: the model holds as many images as it may.
        DeadlineExceeded: the answer would come too late.
        Unavailable: the server is stopping, or no device is left.
    """
    try:
        return queue.admit(
            entry.lane,
            work,
            request.deadline,
            request.priority,
            _size(request.image),
            request.caller,
            is_decoded=work.pixels is not None,
        )
    except QueueFull as full:
        message = f"model {entry.name} has {full.held} images waiting, as many as it may; try again later"
        raise Overloaded(message, max(full.wait_seconds, _SHORTEST_RETRY_SECONDS)) from None
    except TooLate as late:
        raise _too_late(entry, late) from None
    except NoDevice:
        raise no_device(entry.name) from None
    except LaneClosed:  # the version was resolved some time ago
        message = f"model {entry.name}/{entry.version} was unloaded or loaded anew meanwhile; try again"
        raise Unavailable(message, _SHORTEST_RETRY_SECONDS) from None
    except QueueClosed:
        raise Unavailable("the server is stopping; try another one", _DRAINING_RETRY_SECONDS) from None


def no_device(model: str) -> Unavailable:
    """What is said to whoever asks for a model that no device is left for."""
    message = f"every device that runs model {model} has failed; try another server"
    return Unavailable(message, _DRAINING_RETRY_SECONDS)


def too_late(ticket: WorkTicket, now: float, what_it_did: str) -> DeadlineExceeded:
    """What is said to whoever was admitted and cannot be answered in time after all."""
    deadline = now if ticket.deadline is None else ticket.deadline
    answer_at = max(ticket.predicted_at, now)
    late_by = max(answer_at - deadline, 0.0)
    message = (
        f"the image {what_it_did}, and the answer would have come {late_by:.3f} s after the deadline; "
        "allow more time or send less"
    )
    return DeadlineExceeded(message, late_by, answer_at - now)


def _too_late(entry: Entry, late: TooLate) -> DeadlineExceeded:
    late_by = late.wait_seconds - late.allowed_seconds
    if late.allowed_seconds <= 0:
        message = "the deadline had passed when the request arrived; allow more time"
    else:
        message = (
            f"model {entry.name} is expected to answer in {late.wait_seconds:.3f} s, but the deadline is in "
            f"{late.allowed_seconds:.3f} s; allow more time or send less"
        )
    return DeadlineExceeded(message, late_by, late.wait_seconds)


def _size(image: Picture) -> int:
    return len(image.data)
