"""The body of a request: bounded before it is read, in the same budget as gRPC's messages."""

import asyncio
import time
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from linnaeus.server.http.problems import HttpRefusal
from linnaeus.server.rpc.inflation import WINDOWS, inflated
from linnaeus.server.security.byte_budget import ByteBudget, Reservation

_SLOW = "the body took too long: {}; send it at once"
_CLOSE = {"connection": "close"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyTimes:
    """How long a body may take.

    Attributes:
        pause_seconds: until its next byte.
        whole_seconds: as a whole.
        bytes_per_second: what comes at this rate may take longer.
    """

    pause_seconds: float = 10.0
    whole_seconds: float = 60.0
    bytes_per_second: int = 32 * 1024


async def read_body(
    request: Request,
    hold: Reservation,
    budget: ByteBudget,
    remaining_seconds: float | None,
    times: BodyTimes,
) -> bytes:
    """Returns the body, uncompressed; the reservation then holds its length.

    Args:
        request: the request.
        hold: the largest body's bytes, reserved by this task.
        budget: has the size of the largest body.
        remaining_seconds: the time until the request's deadline; None for no deadline.
        times: how long it may take.

    Raises:
        HttpRefusal: if the body is too large or comes too slowly.
        InvalidArgument: if it cannot be inflated.
        Overloaded: if the request has to give way to others.
        ClientDisconnect: if the caller leaves.
    """
    try:
        body = await _read(request, budget.message_bytes, remaining_seconds, times)
    except asyncio.CancelledError:
        hold.raise_if_ended()
        raise
    if (coding := _coding(request)) != "identity":
        body = await inflated(body, budget.message_bytes, coding)
    hold.received(len(body))
    return body


def require_acceptable(request: Request, most_bytes: int) -> None:
    """Refuses a body by what the headers say of it: its size, and how it is compressed.

    Raises:
        HttpRefusal: if it is too large, or compressed in an unknown way.
    """
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most_bytes:
        raise _too_large(most_bytes)
    if (coding := _coding(request)) != "identity" and coding not in WINDOWS:
        sentence = (
            f"the body's encoding is {coding!r:.40}, but only gzip, deflate and none are accepted; send it as it is"
        )
        raise HttpRefusal(415, sentence, "INVALID_ARGUMENT", {"accept-encoding": "gzip, deflate", **_CLOSE})


def _coding(request: Request) -> str:
    return ", ".join(request.headers.getlist("content-encoding")).lower().removeprefix("x-") or "identity"


async def _read(request: Request, most_bytes: int, remaining_seconds: float | None, times: BodyTimes) -> bytes:
    parts, length, started = list[bytes](), 0, time.monotonic()
    while True:
        whole_seconds = times.whole_seconds + length / times.bytes_per_second
        if remaining_seconds is not None:
            whole_seconds = min(whole_seconds, remaining_seconds)
        left = started + whole_seconds - time.monotonic()
        try:
            async with asyncio.timeout(min(left, times.pause_seconds)):
                message = await request.receive()
        except TimeoutError:
            is_pause = left > times.pause_seconds
            why = f"{times.pause_seconds:g} s without a byte" if is_pause else f"more than {whole_seconds:.3g} s"
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
