"""The HTTP port: /metrics, which Prometheus scrapes, and the probes /livez and /readyz."""

import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from linnaeus.server.observability.probes import Probes
from linnaeus.server.process.supervised_thread import SupervisedThread
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.security.listen_address import Address, accept_ipv4_too, bindable_host, cannot_listen

logger = logging.getLogger(__name__)

# A connection that neither sends its request nor reads its answer is closed.
_IDLE_SECONDS = 10.0
# Connections answered at once, each on a thread of its own; further ones are closed.
_MAX_CONNECTIONS = 64
METRICS_PART = "metrics"
_TEXT = ("Content-Type", "text/plain; charset=utf-8")

_Headers: TypeAlias = list[tuple[str, str]]
_Answer: TypeAlias = tuple[HTTPStatus, _Headers, bytes]


class MetricsServer:
    """A server of GET and HEAD on its own thread; listens from construction to `close`.

    `/metrics` answers with the metrics; `/livez` and `/readyz` with 200, or with 503 and the reason in a sentence.
    Other paths are not found, so that a wrong probe fails.

    Args:
        registry: the metrics.
        probes: answers the probes.
        host: the host to listen on.
        port: the port to listen on; 0 for any free port.
        supervisor: receives faults; ends the server if the thread keeps failing.

    Attributes:
        port: the port that it listens on.

    Raises:
        StartupError: if the port cannot be opened.
    """

    def __init__(
        self, registry: CollectorRegistry, probes: Probes, host: str, port: int, supervisor: Supervisor
    ) -> None:
        try:
            self._server = _Server(host, port)
        except (OSError, UnicodeError) as error:
            raise cannot_listen("the metrics", Address(host, port), error) from None
        self._server.set_app(_Paths(registry, probes))
        self.port: int = self._server.server_port
        self._thread = SupervisedThread(
            "linnaeus-metrics",
            METRICS_PART,
            self._server.serve_forever,
            supervisor,
            give_up=partial(supervisor.end_server, METRICS_PART),
        )
        self._thread.start()

    def close(self) -> None:
        """Stops listening and joins the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Paths:
    """The WSGI application: answers each path."""

    def __init__(self, registry: CollectorRegistry, probes: Probes) -> None:
        self._metrics = make_wsgi_app(registry)
        self._reasons: dict[str, Callable[[], str]] = {
            "/livez": probes.unlive_reason,
            "/readyz": probes.unready_reason,
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[[str, _Headers], Any]) -> Iterable[bytes]:
        status, headers, body = self._answer(environ)
        start_response(f"{status.value} {status.phrase}", [*headers, ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _answer(self, environ: dict[str, Any]) -> _Answer:
        path = environ["PATH_INFO"]
        if path != "/metrics" and path not in self._reasons:
            return HTTPStatus.NOT_FOUND, [_TEXT], b"there are /metrics, /livez and /readyz\n"
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, [_TEXT, ("Allow", "GET, HEAD")], b"use GET or HEAD\n"
        if path == "/metrics":
            return self._scrape(environ)
        reason = self._reasons[path]()
        status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
        return status, [_TEXT], f"{reason or 'ok'}\n".encode()

    def _scrape(self, environ: dict[str, Any]) -> _Answer:
        headers: _Headers = []

        def start_response(status: str, sent: _Headers) -> None:
            headers.extend(sent)

        body = b"".join(self._metrics({**environ, "REQUEST_METHOD": "GET"}, start_response))
        return HTTPStatus.OK, headers, body


class _Handler(WSGIRequestHandler):
    """Handles one connection without logging it."""

    timeout = _IDLE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: probes come every few seconds."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """An HTTP server with one thread for each connection, and a bound on their number."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        self._free = threading.Semaphore(_MAX_CONNECTIONS)
        host = bindable_host(host)
        resolved = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, name = resolved[0]
        super().__init__((str(name[0]), port), _Handler)

    def server_bind(self) -> None:
        """Binds without the look-up of the host's name, which may take seconds; a socket for IPv6 takes IPv4 too."""
        accept_ipv4_too(self.socket)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for the connection, or closes it if there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers the connection on its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs a connection that broke off or idled, which is the peer's affair."""
        logger.debug("a connection to the metrics port failed", exc_info=True)
