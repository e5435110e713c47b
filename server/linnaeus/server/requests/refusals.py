"""The refusals that more than one folder sends to callers."""

from linnaeus.server.errors import DeadlineExceeded, Unavailable
from linnaeus.server.requests.request import RequestTicket
from linnaeus.server.scheduling import TooLate

DRAINING_RETRY_SECONDS = 1.0
SHORTEST_RETRY_SECONDS = 0.01


def no_device(model: str) -> Unavailable:
    """What is said to whoever asks for a model that no device is left for."""
    message = f"every device that runs model {model} has failed; try another server"
    return Unavailable(message, DRAINING_RETRY_SECONDS)


def too_late(ticket: RequestTicket, now: float, what_it_did: str) -> DeadlineExceeded:
    """What is said to whoever was admitted and cannot be answered in time after all."""
    deadline = now if ticket.deadline is None else ticket.deadline
    answer_at = max(ticket.predicted_at, now)
    late_by = max(answer_at - deadline, 0.0)
    message = (
        f"the image {what_it_did}, and the answer would have come {late_by:.3f} s after the deadline; "
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
