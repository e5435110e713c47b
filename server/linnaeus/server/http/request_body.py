"""The body of a request: bounded before it is read, in the same budget as gRPC's messages."""

import asyncio
import time

from starlette.requests import ClientDisconnect, Request

from linnaeus.server.http.problems import HttpRefusal
from linnaeus.server.rpc.inflation import WINDOWS, inflated
from linnaeus.server.security.byte_budget import ByteBudget, Reservation

# How long a sender may pause, and how long a whole body may take.
PAUSE_SECONDS = 10.0
WHOLE_SECONDS = 60.0
_SLOW = "the body took too long: {}; send it at once"
_CLOSE = {"connection": "close"}


async def read_body(request: Request, hold: Reservation, budget: ByteBudget, remaining_seconds: float | None) -> bytes:
    """Returns the body, uncompressed; the reservation then holds its length.

    Args:
        request: the request.
        hold: the largest body's bytes, reserved by this task.
        budget: has the size of the largest body.
        remaining_seconds: the time until the request's deadline; None for no deadline.

    Raises:
        HttpRefusal: if the body is too large, comes too slowly or is compressed in an unknown way.
        InvalidArgument: if it cannot be inflated.
        Overloaded: if the request has to give way to others.
        ClientDisconnect: if the caller leaves.
    """
    coding = request.headers.get("content-encoding", "identity").lower().removeprefix("x-")
    if coding != "identity" and coding not in WINDOWS:
        sentence = f"the body's encoding is {coding!r:.40}, but only gzip, deflate and none are accepted"
        raise HttpRefusal(415, sentence, "INVALID_ARGUMENT", {"accept-encoding": "gzip, deflate", **_CLOSE})
    require_size(request, budget.message_bytes)
    try:
        body = await _read(request, budget.message_bytes, remaining_seconds)
    except asyncio.CancelledError:
        hold.raise_if_ended()
        raise
    if coding != "identity":
        body = await inflated(body, budget.message_bytes, coding)
    hold.received(len(body))
    return body


def require_size(request: Request, most_bytes: int) -> None:
    """Refuses a body that says itself that it is too large.

    Raises:
        HttpRefusal: if it does.
    """
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > most_bytes:
        raise _too_large(most_bytes)


async def _read(request: Request, most_bytes: int, remaining_seconds: float | None) -> bytes:
    parts, length = list[bytes](), 0
    whole_seconds = WHOLE_SECONDS if remaining_seconds is None else min(remaining_seconds, WHOLE_SECONDS)
    ends_at = time.monotonic() + whole_seconds
    while True:
        seconds = min(ends_at - time.monotonic(), PAUSE_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                message = await request.receive()
        except TimeoutError:
            why = f"{PAUSE_SECONDS:g} s without a byte" if seconds == PAUSE_SECONDS else f"over {whole_seconds:g} s"
            raise HttpRefusal(408, _SLOW.format(why), "DEADLINE_EXCEEDED", _CLOSE) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message["body"])
        length += len(parts[-1])
        if length > most_bytes:
            raise _too_large(most_bytes)
        if not message["more_body"]:
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(most_bytes: int) -> HttpRefusal:
    sentence = f"the body has more than {most_bytes} bytes; send less at once, or start the server with a larger "
    return HttpRefusal(413, f"{sentence}--max-message-bytes", "RESOURCE_EXHAUSTED", _CLOSE)
