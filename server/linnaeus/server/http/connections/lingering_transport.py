"""A connection whose end lets the caller read the last answer, also while it still sends."""

import asyncio
from typing import Any


class LingeringTransport:
    """A transport for uvicorn's protocol, around the one of the event loop.

    The kernel resets a connection that is closed before all that came was read, and the caller may then never see the
    answer. So `close` ends only the writing while the caller may still send; what comes is discarded by the protocol,
    which closes the connection at the caller's end of file. After `linger_seconds` it ends in any case.

    Belongs to the event loop's thread.

    Args:
        transport: the transport of the event loop.
        loop: the event loop.
        linger_seconds: how long the caller may take to read the answer.

    Attributes:
        expects_more: whether the caller may still send when `close` is called; kept by the protocol.
    """

    __slots__ = ("_is_lingering", "_linger_seconds", "_loop", "_timer", "_transport", "expects_more", "write")

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop, linger_seconds: float) -> None:
        self._transport = transport
        self._loop = loop
        self._linger_seconds = linger_seconds
        self._is_lingering = False
        self._timer: asyncio.TimerHandle | None = None
        self.expects_more = False
        self.write = transport.write

    def close(self) -> None:
        """Ends the connection once the caller had time to read what was written; may be called again."""
        if self._is_lingering:
            return
        if not self.expects_more or self._transport.is_closing():
            self._transport.close()
            return
        self._is_lingering = True
        self._timer = self._loop.call_later(self._linger_seconds, self._transport.abort)
        self._transport.resume_reading()
        if self._transport.can_write_eof():  # not with TLS
            self._transport.write_eof()

    def lost(self) -> None:
        """Called when the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def is_closing(self) -> bool:
        """Returns whether nothing more is written or answered."""
        return self._is_lingering or bool(self._transport.is_closing())

    def abort(self) -> None:
        """Ends the connection at once."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """Stops reading, unless what comes is to be discarded."""
        if not self._is_lingering:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Reads again."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Returns what the transport knows of the connection."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Returns the bytes that wait to be sent."""
        return int(self._transport.get_write_buffer_size())
