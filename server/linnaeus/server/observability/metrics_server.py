"""The HTTP endpoint that Prometheus scrapes."""

from prometheus_client import CollectorRegistry, start_http_server

from linnaeus.server.errors import StartupError
from linnaeus.server.security.listen_address import bindable_host


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
            self._server, self._thread = start_http_server(port, bindable_host(host), registry)
        except OSError as error:
            raise StartupError(f"the metrics cannot listen on {host}:{port}: {error.strerror or error}") from None
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stops listening and joins the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
