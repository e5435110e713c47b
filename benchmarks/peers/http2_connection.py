"""A connection that calls one gRPC method, for callers who count microseconds: 20 to 30 of them a call.

    with Connection(target, "/inference.GRPCInferenceService/ModelInfer") as connection:
        stream = connection.open()
        connection.send(stream, body, last=True)
        for event in connection.receive():
            ...

gRPC's own Python client takes five times as long, on cores that the server needs. Keeps to the server's flow control.
Belongs to one thread; it knows nothing of what the messages mean.
"""

import select
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benchmarks.peers import http2_frames as frames

TIMEOUT_SECONDS = 30.0
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Event:
    """What came on a stream: a message, or None at its end; one that ended without a message was refused."""

    stream: int
    message: bytes | None


@dataclass(slots=True)
class _Unsent:
    """What waits for the server to take it."""

    stream: int
    data: memoryview
    last: bool


class Connection:
    """One connection; a call is a stream.

    What is sent leaves at the next `receive`, all at once.

    Args:
        target: HOST:PORT.
        path: of the method, /SERVICE/METHOD.
        timeout_seconds: that the server is told of each call; None for no end. Nothing here keeps it.

    Raises:
        OSError: the server is not there, or was silent for half a minute.
        RuntimeError: it ended the connection in the protocol's terms.
    """

    def __init__(self, target: str, path: str, timeout_seconds: float | None = None) -> None:
        host, port = target.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._first, self._headers = frames.request_headers(path, target, timeout_seconds)
        self._largest_frame = frames.DEFAULT_FRAME
        self._initial_window = self._window = frames.DEFAULT_WINDOW
        self._windows: dict[int, int] = {}
        self._next = 1
        self._allowed = frames.LARGEST_WINDOW
        self._received, self._messages = bytearray(), dict[int, bytearray]()
        self._unsent: deque[_Unsent] = deque()
        grown = frames.window_update(0, frames.LARGEST_WINDOW - frames.DEFAULT_WINDOW)
        self._out = [frames.PREFACE, frames.settings(window=frames.LARGEST_WINDOW), grown]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def open(self) -> int:
        """Begins a call and returns its stream."""
        stream = self._next
        headers = self._first if stream == 1 else self._headers
        self._out.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, headers))
        self._windows[stream] = self._initial_window
        self._messages[stream] = bytearray()
        self._next += 2
        return stream

    def send(self, stream: int, body: bytes, last: bool) -> None:
        """Sends a message; the `last` one ends our side of the call."""
        self._unsent.append(_Unsent(stream, memoryview(frames.message(body)), last))

    def end(self, stream: int) -> None:
        """Ends our side of a call behind all that was sent."""
        self._unsent.append(_Unsent(stream, memoryview(b""), True))

    def cancel(self, stream: int) -> None:
        """Gives a call up: nothing more is sent for it, and nothing more of it is told."""
        if stream in self._windows:
            self._forget(stream)
            self._out.append(frames.cancel(stream))

    def receive(self, seconds: float | None = None) -> Iterator[Event]:
        """Sends what is to be sent, waits until something comes, for so long at most, and yields what it was."""
        self._flush()
        if seconds is not None and not select.select([self._socket], [], [], max(seconds, 0.0))[0]:
            return
        chunk = self._socket.recv(_CHUNK)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self._received += chunk
        self._allow(len(chunk))
        for each in frames.take_frames(self._received):
            yield from self._take(each)

    def _flush(self) -> None:
        self._fill()
        if self._out:
            self._socket.sendall(b"".join(self._out))
            self._out.clear()

    def _fill(self) -> None:
        """Moves to the output what the windows let through; a stream whose window is full lets others pass.

        What was to be sent for a call that has ended by now is dropped.
        """
        waiting: deque[_Unsent] = deque()
        full: set[int] = set()
        while self._unsent:
            each = self._unsent.popleft()
            if each.stream not in self._windows:
                continue
            if each.stream in full or not self._put(each):
                full.add(each.stream)
                waiting.append(each)
        self._unsent = waiting

    def _put(self, unsent: _Unsent) -> bool:
        """Whether all of it went."""
        while True:
            size = min(len(unsent.data), self._window, self._windows[unsent.stream], self._largest_frame)
            if unsent.data and not size:
                return False
            part, unsent.data = unsent.data[:size], unsent.data[size:]
            flags = frames.END_STREAM if unsent.last and not unsent.data else 0
            self._out.append(frames.frame(frames.DATA, flags, unsent.stream, bytes(part)))
            self._window -= size
            self._windows[unsent.stream] -= size
            if not unsent.data:
                return True

    def _allow(self, size: int) -> None:
        """Lets the server send on: its window for the connection shrinks with all that comes."""
        self._allowed -= size
        if self._allowed < frames.LARGEST_WINDOW // 2:
            self._out.append(frames.window_update(0, frames.LARGEST_WINDOW // 2))
            self._allowed += frames.LARGEST_WINDOW // 2

    def _take(self, each: frames.Frame) -> Iterator[Event]:
        if each.kind == frames.GOAWAY:
            raise RuntimeError(f"the server refused: HTTP/2 frame {each.kind} {each.payload[:80]!r}")
        if each.kind not in (frames.DATA, frames.HEADERS, frames.RST_STREAM):
            self._heed(each)
        elif each.stream in self._windows:  # else it has ended
            yield from self._hear(each)

    def _hear(self, each: frames.Frame) -> Iterator[Event]:
        """What concerns a call."""
        if each.kind == frames.DATA:
            received = self._messages[each.stream]
            received += each.payload
            for message in frames.take_messages(received):
                yield Event(each.stream, message)
        if each.kind == frames.RST_STREAM or each.flags & frames.END_STREAM:
            self._forget(each.stream)
            yield Event(each.stream, None)

    def _forget(self, stream: int) -> None:
        del self._messages[stream], self._windows[stream]

    def _heed(self, each: frames.Frame) -> None:
        """What concerns the connection itself."""
        if each.kind == frames.PING and not each.flags & frames.ACK:
            self._out.append(frames.frame(frames.PING, frames.ACK, 0, each.payload))
        elif each.kind == frames.WINDOW_UPDATE:
            self._grow(each.stream, int.from_bytes(each.payload))
        elif each.kind == frames.SETTINGS and not each.flags & frames.ACK:
            self._adopt(frames.read_settings(each.payload))
            self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0, b""))

    def _grow(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
        elif stream in self._windows:
            self._windows[stream] += size

    def _adopt(self, told: dict[int, int]) -> None:
        self._largest_frame = told.get(frames.MAX_FRAME_SIZE, self._largest_frame)
        grown = told.get(frames.INITIAL_WINDOW_SIZE, self._initial_window) - self._initial_window
        self._initial_window += grown
        self._windows = {stream: window + grown for stream, window in self._windows.items()}
