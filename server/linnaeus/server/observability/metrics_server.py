"""The HTTP endpoint that Prometheus scrapes."""

from prometheus_client import CollectorRegistry, start_http_server

from linnaeus.server.errors import StartupError


class MetricsServer:
    """`GET /metrics` on a thread of its own."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise StartupError(f"the metrics cannot listen on {host}:{port}: {error.strerror or error}") from None
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
