"""One end of the link: a socket that carries frames of messages.

The messages of one step of the event loop travel in one frame: a length of four bytes and a list in MessagePack.
Knows neither what the messages mean nor who sends them.
"""

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from linnaeus.server.link.messages import Message

Incoming = TypeVar("Incoming")

_LENGTH = struct.Struct("<I")


class Connection(asyncio.Protocol, Generic[Incoming]):
    """Sends and receives messages. Belongs to the event loop's thread, but for `send_from_thread`.

    Args:
        kinds: the union of the messages that may come.
        on_messages: receives the messages of one step; called again only after it has returned.
        on_lost: called once, when the other end is gone.
    """

    def __init__(
        self,
        kinds: Any,
        on_messages: Callable[["Connection[Incoming]", Sequence[Incoming]], None],
        on_lost: Callable[["Connection[Incoming]"], None],
    ) -> None:
        self._decoder = msgspec.msgpack.Decoder(list[kinds])
        self._encoder = msgspec.msgpack.Encoder()
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._outbox: list[Message] = []
        self._received = bytearray()
        self._is_flush_scheduled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport; called by asyncio."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Passes on the messages of every frame that is whole; called by asyncio."""
        received: bytes | bytearray = data
        if self._received:
            self._received += data
            received = self._received
        messages, begin, end = list[Incoming](), 0, len(received)
        while end - begin >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(received, begin)
            if end - begin - _LENGTH.size < length:
                break
            begin += _LENGTH.size
            messages += self._decoder.decode(memoryview(received)[begin : begin + length])
            begin += length
        self._received = bytearray(received[begin:]) if begin < end else bytearray()
        if messages:
            self._on_messages(self, messages)

    def connection_lost(self, error: Exception | None) -> None:
        """Reports that the other end is gone; called by asyncio."""
        self._transport = None
        self._on_lost(self)

    def send(self, message: Message) -> None:
        """Sends a message with the others of this step of the event loop."""
        self._outbox.append(message)
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self._loop.call_soon(self.flush)

    def send_from_thread(self, messages: Sequence[Message]) -> None:
        """Sends messages from another thread."""
        self._loop.call_soon_threadsafe(self._send_all, messages)

    def flush(self) -> None:
        """Sends what has gathered now."""
        self._is_flush_scheduled = False
        if self._outbox and self._transport is not None:
            frame = self._encoder.encode(self._outbox)
            self._transport.write(_LENGTH.pack(len(frame)) + frame)
        self._outbox.clear()

    def close(self) -> None:
        """Sends what has gathered and closes the socket."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def _send_all(self, messages: Sequence[Message]) -> None:
        self._outbox += messages
        self.flush()
