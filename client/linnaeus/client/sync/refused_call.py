# Generated from ../aio/refused_call.py by `make sync-client`. Do not edit.
"""One call that is sent again if the server refuses it and says when to come back.

`RetryBudget` decides whether it is; `transport/refusals.py` has the reasons. Only for calls that change nothing.
"""

from collections.abc import Callable
from typing import TypeVar

from linnaeus.client.errors import Overloaded
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.refusals import RetryBudget

Response = TypeVar("Response")
Send = Callable[[], Response]
Pause = Callable[[float], bool]


def refused_call(
    send: Send[Response], pause: Pause, budget: RetryBudget, deadline: Deadline, *, send_again: Send[Response]
) -> Response:
    """Makes one call.

    Args:
        send: sends the request and returns the response.
        pause: waits for some seconds; returns False if the call is cancelled meanwhile.
        budget: the client's.
        deadline: of all attempts together.
        send_again: sends the request after a refusal.

    Raises:
        LinnaeusError: the last attempt's error.
    """
    sends = 1
    while True:
        try:
            response = send()
        except Overloaded as refusal:
            delay_seconds = budget.delay_seconds(refusal.resend_after_seconds, sends=sends, deadline=deadline)
            if delay_seconds is None or not pause(delay_seconds):
                raise
        else:
            budget.record_answer()
            return response
        sends, send = sends + 1, send_again
