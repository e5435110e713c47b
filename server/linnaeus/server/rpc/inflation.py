"""Inflation of messages of gRPC and of bodies over HTTP, which is bounded while it happens.

gRPC inflates a message whole before it compares the size with its limit, so the server takes messages as they were sent
(the option `grpc.per_message_decompression`). Which ones are gzip shows in their first byte: no protobuf message begins
with it, since it would be a field of a type that does not exist. Of deflate that could not be told, so it is not among
the encodings that the server accepts by gRPC. Over HTTP a header says it.
"""

import asyncio
import zlib

from linnaeus.server.errors import InvalidArgument

# Options of a gRPC server whose messages go through `inflated`. The bits are those of identity and gzip.
COMPRESSION_OPTIONS = (("grpc.per_message_decompression", 0), ("grpc.compression_enabled_algorithms_bitset", 0b101))

_MAGIC = b"\x1f\x8b"
# The windows of zlib by the codings of HTTP, of which `deflate` means zlib's format.
WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# Larger messages are inflated on another thread: 64 KiB take about 0.1 ms of the event loop.
_MAX_INLINE_BYTES = 1 << 16
# A message may grow by this factor, or to this size. Pixels of one colour shrink by a thousand, pictures not at all.
# Without the factor, 30 KB would cost 0.1 s of a core to read.
_MAX_RATIO = 100
_MIN_LIMIT_BYTES = 1 << 20


def is_gzip(message: bytes) -> bool:
    """Returns whether a message was sent with gzip."""
    return message.startswith(_MAGIC)


async def inflated(message: bytes, max_bytes: int, coding: str = "gzip") -> bytes:
    """Returns the content of a compressed message.

    Args:
        message: the message as it was sent.
        max_bytes: the largest content.
        coding: how it is compressed: one of `WINDOWS`.

    Raises:
        InvalidArgument: if the message is no whole stream of the coding, or its content is too large.
    """
    limit = min(max_bytes, max(_MIN_LIMIT_BYTES, len(message) * _MAX_RATIO))
    try:
        content, is_whole = _inflate(message, min(_MAX_INLINE_BYTES, limit + 1), WINDOWS[coding])
        if len(content) == _MAX_INLINE_BYTES:
            content, is_whole = await asyncio.to_thread(_inflate, message, limit + 1, WINDOWS[coding])
    except zlib.error:
        raise InvalidArgument("request", f"the message is no valid {coding} stream; send it uncompressed") from None
    if len(content) > limit:
        message_text = (
            f"the {coding} message inflates to more than {limit} bytes; send it uncompressed, or less at once"
        )
        raise InvalidArgument("request", message_text)
    if not is_whole:
        raise InvalidArgument("request", f"the {coding} message ends early; send it whole, or uncompressed")
    return content


def _inflate(message: bytes, max_bytes: int, window: int) -> tuple[bytes, bool]:
    """Returns the first `max_bytes` of the content, and whether the stream ended within them."""
    stream = zlib.decompressobj(window)
    return stream.decompress(message, max_bytes), stream.eof
