"""One call as at most two attempts: the first answer wins, and the other attempt is cancelled.

`Hedger` decides when the second attempt is sent. A failed attempt waits for the other one: the call fails only if both
do, and then with the error of the first.
"""

import time
from collections.abc import Callable
from typing import Any

from linnaeus.client.aio.attempts import Attempts
from linnaeus.client.transport.hedging import Hedger

Clock = Callable[[], float]


async def hedged_call(send: Callable[[], Any], hedger: Hedger, model: str, clock: Clock = time.monotonic) -> Any:
    """Makes one call.

    Args:
        send: starts an attempt.
        hedger: the client's.
        model: whose latencies count.
        clock: monotonic, in seconds.

    Returns:
        The response.

    Raises:
        grpc.RpcError: the first attempt's error, if no attempt succeeds.
    """
    attempts = Attempts(send)
    started = clock()
    late_after_seconds = hedger.start_call(model)
    try:
        attempts.start()
        if (
            late_after_seconds is not None
            and not await attempts.ended_within(late_after_seconds)
            and hedger.take_token()
        ):
            attempts.start()
        winner = await attempts.winner()
        response = winner.result()
        hedger.record_answer(model, clock() - started, by_second=winner is not attempts.first)
        return response
    finally:
        await attempts.cancel()
