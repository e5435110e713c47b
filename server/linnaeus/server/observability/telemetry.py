"""Who follows requests: the traces and the request log, as far as they are on.

OpenTelemetry is imported where traces are on, and nowhere else.
"""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.observability.request_log import RequestLog
from linnaeus.server.requests.request_record import Follower, Followers

if TYPE_CHECKING:
    from linnaeus.server.observability.otlp_export import SpanSender


class Telemetry:
    """What the settings turn on.

    Attributes:
        follower: of the engine's requests; None if all is off.

    Raises:
        StartupError: traces cannot be sent like this.
    """

    def __init__(self, settings: Settings, release: str) -> None:
        followers: list[Follower] = []
        self._sender: SpanSender | None = None
        if settings.otel_endpoint:
            spans, self._sender = _traces(settings, release)
            followers.append(spans)
        if settings.request_log:
            followers.append(RequestLog(settings.request_log))
        several = Followers(*followers)
        self.follower: Follower | None = followers[0] if len(followers) == 1 else several if followers else None

    async def close(self) -> None:
        """Sends what is left, for a bounded time."""
        if self._sender is not None:
            await asyncio.to_thread(self._sender.close)


def _traces(settings: Settings, release: str) -> "tuple[Follower, SpanSender]":
    _require_url(settings.otel_endpoint)
    try:
        from linnaeus.server.observability.otlp_export import SpanSender
        from linnaeus.server.observability.spans import Spans
    except ModuleNotFoundError as error:
        message = f"otel_endpoint is set, but {error.name} is not installed: pip install 'linnaeus[otel]'"
        raise StartupError(message) from None
    sender = SpanSender(settings.otel_endpoint, release)
    return Spans(sender.tracer, settings.otel_sample), sender


def _require_url(endpoint: str) -> None:
    """What has no scheme would be taken for TLS; what has a name or password in it would stand in process listings."""
    try:
        parts = urlsplit(endpoint)
        is_plain = parts.scheme in ("http", "https") and bool(parts.hostname and parts.port) and "@" not in parts.netloc
    except ValueError:  # the port is no number
        is_plain = False
    if not is_plain:
        raise StartupError("otel_endpoint must be http://HOST:PORT, or https://HOST:PORT for TLS, and hold no secret")
