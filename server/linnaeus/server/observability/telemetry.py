"""The record handlers that the settings enable: traces and the request log.

OpenTelemetry is an optional dependency, so it is imported only if traces are enabled.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.observability.request_log import RequestLog
from linnaeus.server.process.daemon_threads import run_in_thread
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.request_record import RecordHandler, RecordHandlers

if TYPE_CHECKING:
    from linnaeus.server.observability.otlp_export import OtlpTracerProvider


class Telemetry:
    """The telemetry that the settings enable.

    Args:
        settings: the server's settings.
        release: the server's release.
        supervisor: receives faults of the export.

    Attributes:
        record_handler: the handler of the engine's request records; None if all telemetry is disabled.

    Raises:
        StartupError: if the endpoint is invalid, or OpenTelemetry is not installed.
    """

    def __init__(self, settings: Settings, release: str, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        handlers: list[RecordHandler] = []
        self._tracer_provider: OtlpTracerProvider | None = None
        if settings.otel_endpoint:
            span_handler, self._tracer_provider = _tracing(settings, release, supervisor)
            handlers.append(span_handler)
        if settings.request_log:
            handlers.append(RequestLog(settings.request_log))
        several = RecordHandlers(*handlers)
        self.record_handler: RecordHandler | None = handlers[0] if len(handlers) == 1 else several if handlers else None

    async def close(self) -> None:
        """Exports the remaining spans, for a bounded time."""
        if self._tracer_provider is None:
            return
        try:
            await run_in_thread("linnaeus-telemetry", self._tracer_provider.close)
        except RuntimeError as error:  # the process may have no more threads: the spans are lost
            self._supervisor.report("trace_export", error)


def _tracing(settings: Settings, release: str, supervisor: Supervisor) -> "tuple[RecordHandler, OtlpTracerProvider]":
    require_url(settings.otel_endpoint)
    try:
        from linnaeus.server.observability.otlp_export import OtlpTracerProvider
        from linnaeus.server.observability.spans import SpanHandler
    except ModuleNotFoundError as error:
        message = f"otel_endpoint is set, but {error.name} is not installed: pip install 'linnaeus[otel]'"
        raise StartupError(message) from None
    provider = OtlpTracerProvider(settings.otel_endpoint, release, supervisor)
    return SpanHandler(provider.tracer, settings.otel_sample), provider


def require_url(endpoint: str) -> None:
    """Requires scheme, host and port, and no credentials.

    gRPC would use TLS without a scheme, and credentials in the setting would be visible in process listings.

    Raises:
        StartupError: if the endpoint is not such a URL.
    """
    try:
        parts = urlsplit(endpoint)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname and parts.port) and "@" not in parts.netloc
    except ValueError:  # the port is not a number
        is_valid = False
    if not is_valid:
        raise StartupError("otel_endpoint must be http://HOST:PORT, or https://HOST:PORT for TLS, and hold no secret")
