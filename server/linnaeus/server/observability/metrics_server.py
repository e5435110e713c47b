"""The HTTP endpoint that Prometheus scrapes."""

import socket
import socketserver
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from linnaeus.server.errors import StartupError
from linnaeus.server.security.listen_address import accept_ipv4_too, bindable_host, socket_family


class MetricsServer:
    """A server of `GET /metrics` on its own thread; listens from construction to `close`.

    Args:
        registry: the metrics.
        host: the host to listen on.
        port: the port to listen on; 0 for any free port.

    Attributes:
        port: the port that it listens on.

    Raises:
        StartupError: if the port cannot be opened.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        try:
            host = bindable_host(host)
            server = _IPv6Server if socket_family(host) == socket.AF_INET6 else _Server
            self._server = make_server(host, port, make_wsgi_app(registry), server, _SilentHandler)
        except OSError as error:
            raise StartupError(f"the metrics cannot listen on {host}:{port}: {error.strerror or error}") from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening and joins the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """An HTTP server with a thread for each connection."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Binds; a socket for IPv6 takes IPv4 too."""
        accept_ipv4_too(self.socket)
        super().server_bind()


class _IPv6Server(_Server):
    """The same on an IPv6 address."""

    address_family = socket.AF_INET6


class _SilentHandler(WSGIRequestHandler):
    """Handles one connection without logging it."""

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: scrapes come every few seconds."""
