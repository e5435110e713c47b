"""One connection over HTTP: uvicorn's protocol with the bounds that it does not have by itself.

A connection ends if the head of a request is too large or takes too long, if what comes is no HTTP, or if its caller
does not read the answers. Such an end waits for the answers to earlier requests, and has a problem document where the
caller can still take one. A request whose caller has left is cancelled.
"""

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from linnaeus.server.http.connections.connection_limits import ConnectionLimits
from linnaeus.server.http.connections.lingering_transport import LingeringTransport
from linnaeus.server.http.connections.peer_certificate import identities
from linnaeus.server.http.connections.running_request import SCOPE_KEY, RunningRequest
from linnaeus.server.http.problems import HttpRefusal

_NO_HTTP = "this is no valid HTTP/1.1 request ({}); correct it, or use another client"
_CODING = "the transfer encoding is {!r:.40}, but only chunked is accepted; send the body chunked or with its length"


class _Ended(Exception):
    """Raised within the parser: nothing more is read of this connection."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection of an HTTP server. Belongs to the event loop's thread.

    Attributes:
        limits: the bounds; set by the server.
        on_lost: called when the connection has ended; likewise.
    """

    limits = ConnectionLimits()
    on_lost: Callable[[], None] = staticmethod(lambda: None)
    _leaves = False

    def connection_made(self, transport: Any) -> None:
        """Waits for the first request."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._pending_bytes = 0  # received since the parser gave something
        self._head_bytes = 0
        self._in_message = False
        self._in_head = True
        self._active: RequestResponseCycle | None = None
        self._is_shut_down = False
        self._last_words: bytes | None = None  # what is said, after the answers that are due, before the end
        self._lingering = LingeringTransport(transport, self.loop, self.limits.linger_seconds)
        self.running = RunningRequest(identities(transport))
        super().connection_made(self._lingering)  # type: ignore[arg-type]  # has what uvicorn uses
        self.timeout_keep_alive = self.limits.keep_alive_seconds  # type: ignore[assignment]  # any number
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancels the request that runs."""
        for timer in (self._head_timer, self._write_timer, self._body_timer):
            _stop(timer)
        self._unset_keepalive_if_required()
        self._lingering.lost()
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
        self.running.lose()
        super().connection_lost(exc)
        self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Passes the bytes on, within the bounds; discards them once the connection is ending."""
        self._unset_keepalive_if_required()
        if not self._in_message and self._head_timer is None:
            self._await_head()  # also for empty lines, which begin no request
        self._pending_bytes += len(data)
        while data and self._last_words is None and not self._lingering.is_closing():
            data = self._feed(data)
        if self._pending_bytes > self.limits.head_bytes:
            self._end_large()
        self._await_next()

    def _feed(self, data: bytes) -> bytes:
        """Parses; returns what stands behind a request that asks for another protocol, and is answered in this one."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            if self._last_words is None:
                self._end(400, _NO_HTTP.format(_reason(error)), "INVALID_ARGUMENT")
        return b""

    def on_message_begin(self) -> None:
        """Gives the request a way to its connection."""
        self._in_message = self._in_head = self._lingering.expects_more = True
        self._head_bytes = 0
        if self._head_timer is None:
            self._await_head()
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # ASGI allows further keys
        scope[SCOPE_KEY] = self.running

    def on_url(self, url: bytes) -> None:
        """Bounds the path."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bounds the headers. Those behind a body are dropped: the request was judged by the ones before it."""
        self._count(len(name) + len(value))
        if self._in_head:
            super().on_header(name, value)
            if len(self.headers) > self.limits.headers:
                self._end_large()
                raise _Ended

    def on_headers_complete(self) -> None:
        """Begins the request, or lets it wait for those before it."""
        self._pending_bytes = self._head_bytes = 0
        _stop(self._head_timer)
        self._head_timer = None
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings and [each.lower() for each in codings] != [b"chunked"]:
            self._end(501, _CODING.format(b", ".join(codings).decode("latin-1")), "UNIMPLEMENTED")
            raise _Ended
        self.server_state.default_headers = _date_header(int(time.time()))
        before = self.cycle
        super().on_headers_complete()
        self._in_head = False
        if self._leaves:
            if before is not None and not before.response_started:
                before.keep_alive = True  # not the last one any more
            self.cycle.keep_alive = False
        if len(self.pipeline) >= self.limits.pipelined:
            self.cycle.keep_alive = False  # says so in its answer, and ends the connection behind it

    def on_body(self, body: bytes) -> None:
        """Passes on a part of a body."""
        self._pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends a request, of which the answer may be due still."""
        self._in_message = self._lingering.expects_more = False
        self._pending_bytes = 0
        _stop(self._body_timer)
        super().on_message_complete()
        if len(self.pipeline) >= self.limits.pipelined:
            self._lingering.expects_more = True
            self._last_words = b""
            raise _Ended

    def on_response_complete(self) -> None:
        """Begins the next request that has come; discards the rest of a body that was not read, for a bounded time."""
        answered = self._active
        super().on_response_complete()
        if self._lingering.is_closing():
            return
        if self._last_words is not None:
            self._say_last_words()
        elif self._is_shut_down and not self._in_message:
            self._close_if_idle()
        elif self._in_message and not self._in_head and answered is self.cycle:
            if self.expect_100_continue:  # whether its body still comes is unknown
                self._lingering.close()
            else:
                self._body_timer = self.loop.call_later(self.limits.linger_seconds, self._lingering.close)

    def leave(self) -> None:
        """Asks the caller to connect anew, elsewhere: the answer to what it has sent last ends the connection."""
        self._leaves = True
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Ends the connection once all that has come is answered."""
        self.leave()
        self._is_shut_down = True
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if not (self._in_message or self._pending_bytes or self._is_answering() or self.pipeline):
            self._lingering.close()

    def pause_writing(self) -> None:
        """Begins to wait for a caller that does not read."""
        super().pause_writing()
        self._write_timer = self._check_reading_later()

    def resume_writing(self) -> None:
        """Ends the waiting."""
        super().resume_writing()
        _stop(self._write_timer)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def _count(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > self.limits.head_bytes:
            self._end_large()
            raise _Ended

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_seconds, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if self._in_message or self._pending_bytes:
            seconds = self.limits.head_seconds
            self._end(408, f"the headers took more than {seconds:g} s; send them at once", "DEADLINE_EXCEEDED")
        else:
            self._lingering.close()

    def _await_next(self) -> None:
        """Bounds the wait for a next request: uvicorn's own timer has ended with the first byte behind an answer."""
        is_idle = not self._in_message and self._head_timer is None and self.timeout_keep_alive_task is None
        if is_idle and not self._is_answering() and not self._lingering.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.limits.keep_alive_seconds, self.timeout_keep_alive_handler
            )

    def _check_reading_later(self) -> asyncio.TimerHandle:
        unread = self._lingering.get_write_buffer_size()

        def check() -> None:
            if self._lingering.get_write_buffer_size() > unread - self.limits.write_bytes:
                self._lingering.abort()
            else:
                self._write_timer = self._check_reading_later()

        return self.loop.call_later(self.limits.write_seconds, check)

    def _is_answering(self) -> bool:
        return self._active is not None and not (self._active.response_complete or self._active.disconnected)

    def _end_large(self) -> None:
        most, size = self.limits.headers, self.limits.head_bytes // 1024
        self._end(431, f"the headers are too large; send at most {most} headers, {size} KiB in all", "INVALID_ARGUMENT")

    def _end(self, status: int, sentence: str, code: str) -> None:
        """Ends the connection with a refusal of the request that is being read."""
        if self._last_words is not None or self._lingering.is_closing():
            return
        response = HttpRefusal(status, sentence, code, {"connection": "close"}).response()
        headers = [*_date_header(int(time.time())), *response.raw_headers]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        self._last_words = STATUS_LINE[status] + lines + b"\r\n" + bytes(response.body)
        if self._in_message and not self._in_head:
            self._drop_unfinished()
        self._lingering.expects_more = True
        if not self._is_answering():
            self._say_last_words()

    def _drop_unfinished(self) -> None:
        """Drops the request whose body turned out to be wrong, whether it has begun or waits."""
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
            return
        if self.cycle.response_started:
            self._last_words = b""
        if not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _say_last_words(self) -> None:
        if self.pipeline or self._is_answering():
            return
        if self._last_words:
            self._lingering.write(self._last_words)
        self._lingering.close()


def _reason(error: httptools.HttpParserError) -> str:
    """Returns what the parser says, or what it means where it speaks of itself."""
    if "PRI" in (said := str(error)):
        return "it is HTTP/2"
    return "its address is malformed" if "callback" in said else f"{said[:80]}"


@lru_cache(maxsize=1)
def _date_header(second: int) -> list[tuple[bytes, bytes]]:
    return [(b"date", formatdate(second, usegmt=True).encode())]


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
