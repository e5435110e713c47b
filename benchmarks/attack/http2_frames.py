"""HTTP/2 as no gRPC library sends it: single frames (RFC 9113), written by hand over one connection.

Sends no more of a body than the server has granted. Reads and drops what the server sends, but for its grants, and its
settings and pings, which it acknowledges.
"""

import asyncio
import contextlib
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_CANCEL = 8
_LARGEST_PAYLOAD = 16_384
_INITIAL_WINDOW = 65_535
_INITIAL_WINDOW_SIZE = 4  # among the settings


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Returns one frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers_frame(stream: int, path: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Returns the begin of a gRPC call.

    Args:
        stream: its id, odd and larger than those before.
        path: /SERVICE/METHOD.
        headers: besides those that each call has.
    """
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    fields += [("te", "trailers"), ("content-type", "application/grpc"), *headers]
    return frame(_HEADERS, _END_HEADERS, stream, b"".join(_literal(*field) for field in fields))


def reset_frame(stream: int) -> bytes:
    """Returns the frame that cancels a call."""
    return frame(_RST_STREAM, 0, stream, struct.pack(">I", _CANCEL))


def message_prefix(length: int, compressed: bool = False) -> bytes:
    """Returns what stands before each message of a gRPC call."""
    return struct.pack(">BI", compressed, length)


class Connection:
    """A connection to a server.

    Args:
        reader: of its bytes.
        writer: of its bytes.

    Attributes:
        closed: ends when the server has closed it.
        ended: the ids of the calls that the server has ended, by an answer or a reset.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._initial = _INITIAL_WINDOW
        self._sent: defaultdict[int, int] = defaultdict(int)  # less what was granted, by stream; 0 is all of them
        self._changed = asyncio.Event()
        self.ended: set[int] = set()
        writer.write(PREFACE + frame(_SETTINGS, 0, 0))
        self.closed = asyncio.create_task(self._read_frames())

    def write(self, frames: bytes) -> None:
        """Writes frames that carry no body."""
        self._writer.write(frames)

    def try_write_body(self, stream: int, body: bytes) -> bool:
        """Writes a whole body that fits into one frame, and returns whether it was granted."""
        if len(body) > min(self._window(stream), _LARGEST_PAYLOAD):
            return False
        self._write_data(stream, body, is_last=True)
        return True

    async def write_body(self, stream: int, body: bytes, is_whole: bool) -> None:
        """Writes a body as the server grants it, until the server ends the call or the connection.

        Args:
            stream: the call's.
            body: what is written.
            is_whole: whether the call is half-closed behind it.
        """
        rest = memoryview(body)
        while rest and stream not in self.ended and not self.closed.done():
            if (size := min(self._window(stream), _LARGEST_PAYLOAD)) <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            self._write_data(stream, bytes(rest[:size]), is_last=is_whole and size >= len(rest))
            rest = rest[size:]
            await self._writer.drain()

    async def close(self) -> None:
        """Closes the connection."""
        self.closed.cancel()
        self._writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self.closed
            await self._writer.wait_closed()

    def _window(self, stream: int) -> int:
        return min(_INITIAL_WINDOW - self._sent[0], self._initial - self._sent[stream])

    def _write_data(self, stream: int, data: bytes, is_last: bool) -> None:
        self._sent[0] += len(data)
        self._sent[stream] += len(data)
        self._writer.write(frame(_DATA, _END_STREAM if is_last else 0, stream, data))

    async def _read_frames(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self._handle(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        self._changed.set()

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._changed.set()
        if kind == _WINDOW_UPDATE:
            self._sent[stream] -= int.from_bytes(payload, "big")
        elif kind == _RST_STREAM or (kind == _HEADERS and flags & _END_STREAM):
            self.ended.add(stream)
        elif kind == _PING and not flags & _ACK:
            self._writer.write(frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            self._initial = dict(struct.iter_unpack(">HI", payload)).get(_INITIAL_WINDOW_SIZE, self._initial)
            self._writer.write(frame(_SETTINGS, _ACK, 0))


@asynccontextmanager
async def open_connection(address: str) -> AsyncIterator[Connection]:
    """Opens a connection and yields it."""
    host, _, port = address.rpartition(":")
    connection = Connection(*await asyncio.open_connection(host, int(port)))
    try:
        yield connection
    finally:
        await connection.close()


def _literal(name: str, value: str) -> bytes:
    """Returns a header as an HPACK literal without indexing (RFC 7541, 6.2.2); both parts are short."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
