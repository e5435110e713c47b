"""HTTP/2 as no gRPC library sends it: single frames (RFC 9113), written by hand over one connection.

Keeps no windows: a caller sends at most 65,535 bytes of bodies on a connection before the server grants more. Reads and
drops what the server sends, but for its settings and pings, which it acknowledges.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MOST_UNGRANTED_BYTES = 65_535
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING = 0, 1, 3, 4, 6
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_CANCEL = 8
_LARGEST_PAYLOAD = 16_384


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Returns one frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def call_frames(stream: int, path: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Returns a whole gRPC call.

    Args:
        stream: its id, odd and larger than those before.
        path: /SERVICE/METHOD.
        body: the message with its five bytes of prefix.
        headers: besides those that each call has.
    """
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    fields += [("te", "trailers"), ("content-type", "application/grpc"), *headers]
    frames = [frame(_HEADERS, _END_HEADERS, stream, b"".join(_literal(*field) for field in fields))]
    for start in range(0, len(body), _LARGEST_PAYLOAD):
        last = start + _LARGEST_PAYLOAD >= len(body)
        frames.append(frame(_DATA, _END_STREAM if last else 0, stream, body[start : start + _LARGEST_PAYLOAD]))
    return b"".join(frames)


def reset_frame(stream: int) -> bytes:
    """Returns the frame that cancels a call."""
    return frame(_RST_STREAM, 0, stream, struct.pack(">I", _CANCEL))


def message_prefix(length: int, compressed: bool = False) -> bytes:
    """Returns what stands before each message of a gRPC call."""
    return struct.pack(">BI", compressed, length)


@asynccontextmanager
async def open_connection(address: str) -> AsyncIterator[tuple[asyncio.StreamWriter, asyncio.Task[None]]]:
    """Opens a connection and yields its writer, and a task that ends when the server has closed it."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE + frame(_SETTINGS, 0, 0))
    closed = asyncio.create_task(_drop_frames(reader, writer))
    try:
        yield writer, closed
    finally:
        closed.cancel()
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await closed
            await writer.wait_closed()


async def _drop_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] in (_SETTINGS, _PING) and not head[4] & _ACK:
                writer.write(frame(head[3], _ACK, 0, payload if head[3] == _PING else b""))


def _literal(name: str, value: str) -> bytes:
    """Returns a header as an HPACK literal without indexing (RFC 7541, 6.2.2); both parts are short."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
