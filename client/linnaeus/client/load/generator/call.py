"""One call of the load generator that is in flight."""

from dataclasses import dataclass

from linnaeus.client.load.generator.request_messages import RequestMessage
from linnaeus.client.load.generator.unary_calls import Cancel


@dataclass(slots=True, eq=False)
class Call:
    """One call in flight; times are in seconds from the start of the measurement.

    Attributes:
        message: the request.
        scheduled: when it was to be sent.
        sent: when it was sent.
        caller: the index of its connection.
        cancel_at: when the load tester cancels it; None for never.
        on_cancel: cancels it; None until it has started.
        was_cancelled: whether the load tester has cancelled it.
    """

    message: RequestMessage
    scheduled: float
    sent: float
    caller: int
    cancel_at: float | None = None
    on_cancel: Cancel | None = None
    was_cancelled: bool = False

    def cancel(self) -> None:
        """Cancels the call, if it has started."""
        if self.on_cancel is not None:
            self.was_cancelled = True
            self.on_cancel()
