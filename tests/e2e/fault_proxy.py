"""An HTTP proxy in front of one server, over loopback, that does to its answers what networks and providers do."""

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PIECE = 16 * 1024
_DROPPED = {"connection", "transfer-encoding", "date", "server"}
EXPIRED = (
    '<?xml version="1.0"?><Error><Code>ExpiredToken</Code><Message>The provided token has expired: '
    "https://host/x?X-Amz-Security-Token=TOPSECRET</Message></Error>"
)
BUSY = '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'


@dataclass
class Fault:
    """What is done to the requests that match.

    Attributes:
        target: a pattern that must be in the request's path and query, followed by a blank and its range.
        status, body: the answer in place of the server's; 0 for the server's.
        cut_at: bytes of the body after which the connection is closed; None for never.
        hold_at: bytes of the body after which the proxy waits for `release`; None for never.
        piece_seconds: a pause before each piece of 16 KiB.
        times: how often it happens.
        entered: set once a request is held.
        release: lets held requests go on.
    """

    target: str
    status: int = 0
    body: str = ""
    cut_at: int | None = None
    hold_at: int | None = None
    piece_seconds: float = 0.0
    times: int = 1_000_000
    entered: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of callers that were killed."""


class FaultProxy:
    """The proxy; tests set and clear `faults` at any time.

    Attributes:
        url: where it listens.
        requests: method, path and range of each request so far.
    """

    def __init__(self, port: int) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # noqa: N802
                proxy._handle(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                """Says nothing."""

        self._port = port
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._lock = threading.Lock()
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str]] = []
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def ranges(self, name: str) -> list[str]:
        """Returns the ranges that were asked of objects whose name ends so."""
        return [asked for _, path, asked in self.requests if path.endswith(name) and asked]

    @contextmanager
    def running(self) -> Iterator["FaultProxy"]:
        thread = threading.Thread(target=self._server.serve_forever, name="fault-proxy", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            for fault in self.faults:
                fault.release.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _fault(self, target: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.target, target):
                    fault.times -= 1
                    return fault
        return None

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.command, handler.path, handler.headers.get("Range", "")))
        fault = self._fault(f"{handler.path} {handler.headers.get('Range', '')}")
        if fault is not None and fault.status:
            self._send(handler, fault.status, [("Content-Type", "application/xml")], fault.body.encode(), None)
            return
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            headers = {name: value for name, value in handler.headers.items() if name.lower() != "connection"}
            connection.request(handler.command, handler.path, headers=headers)
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _DROPPED]
            self._send(handler, answer.status, kept, answer.read(), fault)
        finally:
            connection.close()

    def _send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        fault: Fault | None,
    ) -> None:
        handler.send_response(status)
        for name, value in headers:
            if name.lower() != "content-length":
                handler.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(body)))
        handler.send_header("Content-Length", length)
        handler.end_headers()
        if handler.command == "HEAD":
            return
        try:
            self._send_body(handler, body, fault)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def _send_body(self, handler: BaseHTTPRequestHandler, body: bytes, fault: Fault | None) -> None:
        if fault is None:
            handler.wfile.write(body)
            return
        for start in range(0, len(body), _PIECE):
            if fault.cut_at is not None and start >= fault.cut_at:
                handler.close_connection = True
                return
            if fault.hold_at is not None and start >= fault.hold_at:
                fault.entered.set()
                fault.release.wait(60)
            if fault.piece_seconds:
                threading.Event().wait(fault.piece_seconds)
            handler.wfile.write(body[start : start + _PIECE])
            handler.wfile.flush()
