"""The record handlers that the settings turn on: traces and the request log.

OpenTelemetry is imported where traces are on, and nowhere else.
"""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.observability.request_log import RequestLog
from linnaeus.server.requests.request_record import RecordHandler, RecordHandlers

if TYPE_CHECKING:
    from linnaeus.server.observability.otlp_export import OtlpTracerProvider


class Telemetry:
    """What the settings turn on.

    Attributes:
        record_handler: of the engine's requests; None if all is off.

    Raises:
        StartupError: traces cannot be sent like this.
    """

    def __init__(self, settings: Settings, release: str) -> None:
        handlers: list[RecordHandler] = []
        self._tracer_provider: OtlpTracerProvider | None = None
        if settings.otel_endpoint:
            spans, self._tracer_provider = _traces(settings, release)
            handlers.append(spans)
        if settings.request_log:
            handlers.append(RequestLog(settings.request_log))
        several = RecordHandlers(*handlers)
        self.record_handler: RecordHandler | None = handlers[0] if len(handlers) == 1 else several if handlers else None

    async def close(self) -> None:
        """Sends what is left, for a bounded time."""
        if self._tracer_provider is not None:
            await asyncio.to_thread(self._tracer_provider.close)


def _traces(settings: Settings, release: str) -> "tuple[RecordHandler, OtlpTracerProvider]":
    _require_url(settings.otel_endpoint)
    try:
        from linnaeus.server.observability.otlp_export import OtlpTracerProvider
        from linnaeus.server.observability.spans import SpanHandler
    except ModuleNotFoundError as error:
        message = f"otel_endpoint is set, but {error.name} is not installed: pip install 'linnaeus[otel]'"
        raise StartupError(message) from None
    provider = OtlpTracerProvider(settings.otel_endpoint, release)
    return SpanHandler(provider.tracer, settings.otel_sample), provider


def _require_url(endpoint: str) -> None:
    """What has no scheme would be taken for TLS; what has a name or password in it would stand in process listings."""
    try:
        parts = urlsplit(endpoint)
        is_plain = parts.scheme in ("http", "https") and bool(parts.hostname and parts.port) and "@" not in parts.netloc
    except ValueError:  # the port is no number
        is_plain = False
    if not is_plain:
        raise StartupError("otel_endpoint must be http://HOST:PORT, or https://HOST:PORT for TLS, and hold no secret")
