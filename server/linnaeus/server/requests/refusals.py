"""Refusals that more than one folder returns to callers."""

from linnaeus.server.errors import DeadlineExceeded, InvalidArgument, Overloaded, Unavailable, VersionReplaced
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.request import RequestTicket, lane_key_of
from linnaeus.server.scheduling import TooLate

DRAINING_RETRY_SECONDS = 1.0
SHORTEST_RETRY_SECONDS = 0.01
DISPLACED_RETRY_SECONDS = 0.1


def no_device(model: str) -> Unavailable:
    """Returns the refusal of a request for a model whose devices have all been removed."""
    message = f"every device that runs model {model} has failed; try another server"
    return Unavailable(message, DRAINING_RETRY_SECONDS)


def unloaded(lane: LaneKey) -> VersionReplaced:
    """Returns the refusal of a request for a version that was unloaded after it was found."""
    message = f"model {lane.model}/{lane.version} was unloaded or loaded anew meanwhile; try again"
    return VersionReplaced(message, SHORTEST_RETRY_SECONDS)


def no_features(model: str, field: str) -> InvalidArgument:
    """Returns the refusal of a request for features of a version that gives none."""
    message = f"this version of model {model} gives no features; export or import it anew with --features"
    return InvalidArgument(field, message)


def displaced(ticket: RequestTicket) -> Overloaded:
    """Returns the refusal of an admitted request that made room for another one."""
    message = (
        f"the queue of model {lane_key_of(ticket).model} is full, and the image made room for one of a higher priority "
        "or of a caller with fewer images waiting; try again later"
    )
    return Overloaded(message, DISPLACED_RETRY_SECONDS)


def too_late(ticket: RequestTicket, now: float, what_happened: str) -> DeadlineExceeded:
    """Returns the error of an admitted request that can no longer meet its deadline.

    Args:
        ticket: the request's ticket.
        now: the engine clock's time, in seconds.
        what_happened: predicate of "the image …" in the message, for example "waited for the device".
    """
    deadline = now if ticket.deadline is None else ticket.deadline
    answer_at = now if ticket.predicted_at is None else max(ticket.predicted_at, now)
    late_by = max(answer_at - deadline, 0.0)
    message = (
        f"the image {what_happened}, and the answer would have come {late_by:.3f} s after the deadline; "
        "allow more time or send less"
    )
    return DeadlineExceeded(message, late_by, answer_at - now)


def too_late_to_admit(model: str, late: TooLate) -> DeadlineExceeded:
    """Returns the refusal of a request that is not admitted because its answer would come after its deadline."""
    late_by = late.wait_seconds - late.allowed_seconds
    if late.allowed_seconds <= 0:
        message = "the deadline had passed when the request arrived; allow more time"
    else:
        message = (
            f"model {model} is expected to answer in {late.wait_seconds:.3f} s, but the deadline is in "
            f"{late.allowed_seconds:.3f} s; allow more time or send less"
        )
    return DeadlineExceeded(message, late_by, late.wait_seconds)
