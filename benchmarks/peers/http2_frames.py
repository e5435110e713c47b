"""HTTP/2 frames and gRPC messages as bytes: what `peers_wire` puts on a connection. Pure; knows no socket.

Only what a caller of known methods needs (RFC 9113, RFC 7541): request headers are written, response headers are not
read. Whether a call was answered shows in its message, as gRPC sends none with an error.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5
HEAD_BYTES = 9
# Of a receiver who has not said otherwise.
DEFAULT_WINDOW, DEFAULT_FRAME = 65_535, 16_384
LARGEST_WINDOW = 2**31 - 1

_HEAD = struct.Struct(">BHBBI")
_SETTING = struct.Struct(">HI")
CANCEL = 8
# Places in HPACK's table: the fixed one's, and from 62 on those that a connection added, the latest first.
_METHOD_POST, _SCHEME_HTTP, _PATH, _AUTHORITY, _CONTENT_TYPE = 3, 6, 4, 1, 31
_FIRST_ADDED = 62
_KEEP = 0x40


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Writes one frame."""
    return _HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def take_frames(received: bytearray) -> Iterator[Frame]:
    """Removes the whole frames from the beginning of what was received."""
    start, size = 0, len(received)
    while size - start >= HEAD_BYTES:
        high, low, kind, flags, stream = _HEAD.unpack_from(received, start)
        end = start + HEAD_BYTES + (high << 16 | low)
        if end > size:
            break
        yield Frame(kind, flags, stream & LARGEST_WINDOW, bytes(received[start + HEAD_BYTES : end]))
        start = end
    del received[:start]


def settings(**values: int) -> bytes:
    """Writes our settings: `window`, of bytes that each stream may send to us."""
    return frame(SETTINGS, 0, 0, _SETTING.pack(INITIAL_WINDOW_SIZE, values["window"]))


def read_settings(payload: bytes) -> dict[int, int]:
    """The peer's, by their numbers."""
    return dict(_SETTING.iter_unpack(payload))


def window_update(stream: int, size: int) -> bytes:
    """Allows the peer so many bytes more."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def cancel(stream: int) -> bytes:
    """Gives a call up."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))


def request_headers(path: str, authority: str, timeout_seconds: float | None = None) -> tuple[bytes, bytes]:
    """A call's headers: those of a connection's first call, which the peer keeps, and what refers to them later."""
    named = bytes([0x80 | _METHOD_POST, 0x80 | _SCHEME_HTTP])
    kept = [
        bytes([_KEEP | _PATH]) + _string(path),
        bytes([_KEEP | _AUTHORITY]) + _string(authority),
        bytes([_KEEP | _CONTENT_TYPE]) + _string("application/grpc"),
        bytes([_KEEP]) + _string("te") + _string("trailers"),
    ]
    if timeout_seconds is not None:
        kept.append(bytes([_KEEP]) + _string("grpc-timeout") + _string(f"{round(1000 * timeout_seconds)}m"))
    return named + b"".join(kept), named + bytes(0x80 | _FIRST_ADDED + place for place in range(len(kept)))


def message(body: bytes) -> bytes:
    """A gRPC message, not compressed."""
    return b"\0" + struct.pack(">I", len(body)) + body


def take_messages(received: bytearray) -> Iterator[bytes]:
    """Removes the whole gRPC messages from the beginning of a stream's data.

    Raises:
        RuntimeError: a message is compressed, which nobody asked for.
    """
    while len(received) >= 5:
        compressed, size = struct.unpack_from(">BI", received)
        if compressed:
            raise RuntimeError("the server sent a compressed message")
        if len(received) < 5 + size:
            return
        yield bytes(received[5 : 5 + size])
        del received[: 5 + size]


def _string(text: str) -> bytes:
    """HPACK's, without Huffman's code; shorter than 127 bytes.

    Raises:
        ValueError: it is longer.
    """
    if len(text) > 126:
        raise ValueError(f"a header of {len(text)} bytes is too long: at most 126")
    return bytes([len(text)]) + text.encode("ascii")
