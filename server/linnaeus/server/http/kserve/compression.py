"""Compression of responses, for callers that ask for it."""

import asyncio
import zlib

from linnaeus.server.rpc.inflation import WINDOWS

# A smaller body is a packet or two anyway.
_LEAST_BYTES = 2048
# Larger ones are compressed on another thread: 64 KiB take about 1 ms of the event loop.
_MAX_INLINE_BYTES = 1 << 16
_FASTEST = 1


def wanted_coding(accepted: str, size: int) -> str | None:
    """Returns the coding of a response; None for none.

    Args:
        accepted: the codings that the caller takes, as `Accept-Encoding` has them.
        size: the bytes of the body.
    """
    if not accepted or size < _LEAST_BYTES:
        return None
    weights = [(_weight(each), each.partition(";")[0].strip().lower()) for each in accepted.split(",")]
    known = [(weight, coding) for weight, coding in weights if weight > 0 and coding in WINDOWS]
    return max(known, key=lambda pair: pair[0])[1] if known else None


async def compressed(body: bytes, coding: str) -> bytes:
    """Returns a body in a coding."""
    if len(body) <= _MAX_INLINE_BYTES:
        return _compress(body, coding)
    return await asyncio.to_thread(_compress, body, coding)


def _compress(body: bytes, coding: str) -> bytes:
    stream = zlib.compressobj(_FASTEST, zlib.DEFLATED, WINDOWS[coding])
    return stream.compress(body) + stream.flush()


def _weight(item: str) -> float:
    """Returns the weight of one item of `Accept-Encoding`; 1 without one, 0 for one that is no number."""
    text = item.partition("q=")[2].strip()
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
