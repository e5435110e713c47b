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

    A caller asks by naming one coding, as tritonclient does. Libraries offer several to every server: these get the
    body as it is, since a thousand probabilities in binary shrink by a twentieth only, in thrice the time that the
    whole response takes otherwise.

    Args:
        accepted: the codings that the caller takes, as `Accept-Encoding` has them.
        size: the bytes of the body.
    """
    coding = accepted.strip().lower()
    return coding if coding in WINDOWS and size >= _LEAST_BYTES else None


async def compressed(body: bytes, coding: str) -> bytes:
    """Returns a body in a coding."""
    if len(body) <= _MAX_INLINE_BYTES:
        return _compress(body, coding)
    return await asyncio.to_thread(_compress, body, coding)


def _compress(body: bytes, coding: str) -> bytes:
    stream = zlib.compressobj(_FASTEST, zlib.DEFLATED, WINDOWS[coding])
    return stream.compress(body) + stream.flush()
