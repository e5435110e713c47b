"""One connection over HTTP: uvicorn's protocol with the bounds that it does not have by itself.

A connection is closed if its headers are too large or take too long, if its caller does not read the answers, and if
there are too many others. A request whose caller has left is cancelled.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from linnaeus.server.http.peer_certificate import identities

# For the headers of a request, from its first byte on; and for the first byte of a new connection.
HEADER_SECONDS = 10.0
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 100
# How long a caller may leave an answer unread that does not fit into the buffers of the system.
WRITE_SECONDS = 30.0
# What a request's scope has of its connection.
SCOPE_KEY = "linnaeus.connection"
_TOO_LARGE = b"the headers are too large: send at most 100 in 32 KiB"
_TOO_SLOW = b"the headers took too long: send them at once"


class RunningRequest:
    """The request that a connection runs now, so that it can be cancelled.

    Attributes:
        task: its task; None between requests.
        is_lost: whether the caller has left.
        identities: the names in the caller's certificate; empty if it has none.
    """

    __slots__ = ("identities", "is_lost", "task")

    def __init__(self, identities: tuple[bytes, ...]) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.is_lost = False
        self.identities = identities


class BoundedProtocol(HttpToolsProtocol):
    """A connection of an HTTP server. Belongs to the event loop's thread.

    Attributes:
        max_connections: the connections of the server at most; set by a subclass for each server.
    """

    max_connections = 1 << 20

    def connection_made(self, transport: Any) -> None:
        """Closes a connection that is one too many; else waits for the first request."""
        super().connection_made(transport)
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._reads_headers = True
        self._running = RunningRequest(identities(transport))
        if len(self.connections) > self.max_connections:
            transport.abort()
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancels the request that runs."""
        self._stop(self._header_timer)
        self._stop(self._write_timer)
        self._running.is_lost = True
        if self._running.task is not None:
            self._running.task.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bounds the headers, then passes the bytes on."""
        if self._reads_headers:
            if self._header_timer is None:
                self._await_headers()
            self._header_bytes += len(data)
        super().data_received(data)
        if self._reads_headers and self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE)

    def on_message_begin(self) -> None:
        """Gives the request a way to its connection."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # ASGI allows further keys
        scope[SCOPE_KEY] = self._running

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts the headers."""
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Begins the request, unless its connection is being closed."""
        self._reads_headers = False
        self._stop(self._header_timer)
        self._header_timer = None
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Passes on a part of the body of a request that was begun."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Expects the headers of the next request."""
        self._reads_headers = True
        self._header_bytes = 0
        if self.cycle is not None:
            super().on_message_complete()

    def pause_writing(self) -> None:
        """Begins to wait for a caller that does not read."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Ends the waiting."""
        super().resume_writing()
        self._stop(self._write_timer)

    def _await_headers(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._headers_late)

    def _headers_late(self) -> None:
        self._header_timer = None
        if self._header_bytes:
            self._refuse(b"408 Request Timeout", _TOO_SLOW)
        else:
            self.transport.close()

    def _refuse(self, status: bytes, sentence: bytes) -> None:
        """Answers before there is a request, and closes the connection."""
        if self.transport.is_closing():
            return
        head = b"HTTP/1.1 %s\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(sentence) + 1) + sentence + b"\n")
        self.transport.close()

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
