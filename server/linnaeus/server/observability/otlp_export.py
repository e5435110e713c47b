"""Export of spans to an OpenTelemetry collector, by OTLP over gRPC, in the background.

Independent of the spans' content. OpenTelemetry's own environment variables apply beside the server's settings:
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_CERTIFICATE, OTEL_BSP_…
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

from linnaeus.server.process.supervisor import Supervisor

logger = logging.getLogger(__name__)

# The name of the export in reports of faults.
EXPORT_PART = "trace_export"
_SERVICE_NAME = "linnaeus"
_FLUSH_SECONDS = 2.0
_GIVE_UP_SECONDS = 1.0
# A batch's span links to each of its requests; OpenTelemetry's default limit of 128 would drop some.
_MAX_LINKS = 4096
# These loggers report every failed export and every dropped span; `_LoggingExporter` reports a failure once.
_SILENCED_LOGGERS = ("opentelemetry.exporter", "opentelemetry.sdk")


class OtlpTracerProvider:
    """A tracer provider that exports spans in batches on its own thread. If its queue is full, the oldest are dropped.

    Args:
        endpoint: the collector, http://HOST:PORT or https://HOST:PORT.
        release: the server's release.
        supervisor: receives faults of the export.

    Attributes:
        tracer: creates spans. All of them are exported: sampling is up to the caller.
    """

    def __init__(self, endpoint: str, release: str, supervisor: Supervisor) -> None:
        for name in _SILENCED_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._exporter = _LoggingExporter(OTLPSpanExporter(endpoint=endpoint), supervisor)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=_resource(release),
            shutdown_on_exit=False,  # `close` does it, in a bounded time
            span_limits=SpanLimits(max_links=_MAX_LINKS),
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self.tracer: Tracer = self._provider.get_tracer(_SERVICE_NAME, release)

    def close(self) -> None:
        """Exports the remaining spans. Blocks for at most 3 s.

        Raises:
            RuntimeError: if the process may have no more threads.
        """
        closing = threading.Thread(target=self._provider.shutdown, name="linnaeus-spans-close", daemon=True)
        closing.start()
        closing.join(_FLUSH_SECONDS)
        if closing.is_alive():
            self._exporter.shutdown()  # ends the wait for the next retry
            closing.join(_GIVE_UP_SECONDS)


class _LoggingExporter(SpanExporter):
    """An exporter that logs one line when spans are lost and one when the collector accepts them again.

    A fault is reported and does not end OpenTelemetry's background thread.
    """

    def __init__(self, exporter: OTLPSpanExporter, supervisor: Supervisor) -> None:
        self._exporter = exporter
        self._supervisor = supervisor
        self._is_accepting = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Exports the spans; called on the background thread."""
        try:
            result = self._exporter.export(spans)
        except BaseException as error:  # what escapes would end OpenTelemetry's thread
            self._supervisor.report(EXPORT_PART, error)
            result = SpanExportResult.FAILURE
        is_accepting = result is SpanExportResult.SUCCESS
        if is_accepting and not self._is_accepting:
            logger.info("the collector takes traces again", extra=_event("traces_sent"))
        elif self._is_accepting and not is_accepting:
            sentence = "the collector of otel_endpoint does not take traces; they are lost until it does"
            logger.warning(sentence, extra=_event("traces_lost"))
        self._is_accepting = is_accepting
        return result

    def shutdown(self) -> None:
        """Ends the export; later spans are dropped."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Does nothing: this exporter holds no spans."""
        return True


def _event(name: str) -> dict[str, dict[str, str]]:
    return {"event": {"event": name}}


def _resource(release: str) -> Resource:
    """Returns the service's name and version, which the environment may override."""
    own = {"service.name": _SERVICE_NAME, "service.version": release}
    from_environment = OTELResourceDetector().detect().attributes
    return Resource.create({name: value for name, value in own.items() if name not in from_environment})
