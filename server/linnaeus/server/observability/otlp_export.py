"""Where spans go: to a collector, by OTLP over gRPC, in the background. Knows nothing of what they tell.

OpenTelemetry's own variables hold beside our settings: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_CERTIFICATE, OTEL_BSP_… and the like.
"""

import logging
import threading
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

logger = logging.getLogger(__name__)

_SERVICE = "linnaeus"
_FLUSH_SECONDS = 2.0
_GIVE_UP_SECONDS = 1.0
# A batch links to each of its requests; OpenTelemetry's own limit of 128 would lose some.
_MOST_LINKS = 4096
# These say at every try that the collector is away, and at every span that none is taken; we say it once.
_NOISY = ("opentelemetry.exporter", "opentelemetry.sdk")


class OtlpTracerProvider:
    """Sends spans in batches, on a thread of its own; where there are too many, new ones push out the oldest.

    Args:
        endpoint: the collector, http://HOST:PORT or https://HOST:PORT.
        release: the server's.

    Attributes:
        tracer: makes the spans, all of which are sent: whoever uses it chooses before.
    """

    def __init__(self, endpoint: str, release: str) -> None:
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._exporter = _LoggingExporter(OTLPSpanExporter(endpoint=endpoint))
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=_resource(release),
            shutdown_on_exit=False,  # `close` does it, in a bounded time
            span_limits=SpanLimits(max_links=_MOST_LINKS),
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self.tracer: Tracer = self._provider.get_tracer(_SERVICE, release)

    def close(self) -> None:
        """Sends what is left; gives up after 3 s at most. Blocks."""
        closing = threading.Thread(target=self._provider.shutdown, name="linnaeus-spans-close", daemon=True)
        closing.start()
        closing.join(_FLUSH_SECONDS)
        if closing.is_alive():
            self._exporter.shutdown()  # ends the wait for the next try
            closing.join(_GIVE_UP_SECONDS)


class _LoggingExporter(SpanExporter):
    """Says in one line that spans are lost, and in another that they arrive again."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._works = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends them; called on the background thread."""
        result = self._exporter.export(spans)
        works = result is SpanExportResult.SUCCESS
        if works and not self._works:
            logger.info("the collector takes traces again", extra=_event("traces_sent"))
        elif self._works and not works:
            sentence = "the collector of otel_endpoint does not take traces; they are lost until it does"
            logger.warning(sentence, extra=_event("traces_lost"))
        self._works = works
        return result

    def shutdown(self) -> None:
        """Sends nothing more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held here."""
        return True


def _event(name: str) -> dict[str, dict[str, str]]:
    return {"event": {"event": name}}


def _resource(release: str) -> Resource:
    """Who we are, unless the environment says it."""
    own = {"service.name": _SERVICE, "service.version": release}
    said = OTELResourceDetector().detect().attributes
    return Resource.create({name: value for name, value in own.items() if name not in said})
