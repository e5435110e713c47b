"""Prometheus metrics, on three hooks: calls (`CallObserver`), batches (`Observer`) and gauges read at a scrape."""

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Info,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from linnaeus.server.engine.engine import Engine
from linnaeus.server.errors import StartupError
from linnaeus.server.observability.device_gauges import DeviceGauges
from linnaeus.server.observability.engine_gauges import EngineGauges
from linnaeus.server.observability.histograms import HistogramFamily
from linnaeus.server.requests.request import BatchReport
from linnaeus.server.rpc.interceptor import Method

# Seconds: from a LeNet alone (under a millisecond) to a deep network under overload.
_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ERROR_SECONDS = (-0.5, -0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Names from outside never become label values.
_OTHER = "_other"
_CALL = ("grpc_service", "grpc_method", "grpc_type")
_VERSION = ("model", "version")
_STAGES = ("decode", "queue", "inference", "respond")


class Metrics:
    """All metrics of one server, in a registry of their own.

    Implements the engine's `Observer` and gRPC's `CallObserver`.
    """

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which few scrapers read
        self.registry = CollectorRegistry()
        self._cached_series: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._calls_started = self._counter("grpc_server_started", "Calls begun.", *_CALL)
        self._calls_handled = self._counter("grpc_server_handled", "Calls ended, by status code.", *_CALL, "grpc_code")
        self._call_seconds = self._histogram("grpc_server_handling_seconds", "Time of a whole call.", _SECONDS, *_CALL)
        self._stage_seconds = self._histogram(
            "linnaeus_stage_seconds", "Time of an answered image in each stage.", _SECONDS, *_VERSION, "stage"
        )
        self._request_seconds = self._histogram(
            "linnaeus_request_seconds", "Time of an answered image from admission to answer.", _SECONDS, *_VERSION
        )
        self._prediction_error = self._histogram(
            "linnaeus_prediction_error_seconds",
            "When an answer came, less when it had been predicted to at admission; below 0 if it came earlier.",
            _ERROR_SECONDS,
            *_VERSION,
        )
        self._batch_size = self._histogram("linnaeus_batch_size", "Images in a run.", _SIZES, *_VERSION)
        self._rejected = self._counter("linnaeus_rejected", "Images that got no answer, by reason.", "model", "reason")
        self._cancelled = self._counter("linnaeus_cancelled", "Images whose caller left.", "model", "stage")
        self._load_failures = self._counter("linnaeus_model_load_failures", "Loads that were refused.", "model")
        self._failed = self._counter("linnaeus_failed", "Images on which the model failed.", "model", "version")
        self._device_busy = self._counter(
            "linnaeus_device_busy_seconds", "Time in which streams of the device ran batches, added up.", "device"
        )
        Info("linnaeus_build", "The server's release.", registry=self.registry).info({"version": version})

    def call_started(self, method: Method) -> None:
        """A call began."""
        self._series(self._calls_started, method.service, method.name, method.kind).inc()

    def call_handled(self, method: Method, code: str, seconds: float) -> None:
        """A call ended with the status code of that name."""
        self._series(self._calls_handled, method.service, method.name, method.kind, code).inc()
        self._call_seconds.labels(method.service, method.name, method.kind).observe(seconds)

    def batch(self, report: BatchReport) -> None:
        """A batch came back."""
        labels = (report.model, str(report.version))
        if report.size:
            self._series(self._device_busy, report.device).inc(report.inference_seconds)
            self._batch_size.labels(*labels).observe(report.size)
        if report.failed:
            self._series(self._failed, *labels).inc(report.failed)
        decode, queue, inference, respond = [self._stage_seconds.labels(*labels, stage) for stage in _STAGES]
        total = self._request_seconds.labels(*labels)
        error = self._prediction_error.labels(*labels)
        for request in report.requests:
            decode.observe(request.decode_seconds)
            queue.observe(request.queue_seconds)
            inference.observe(request.inference_seconds)
            respond.observe(request.respond_seconds)
            total.observe(request.total_seconds)
            error.observe(request.prediction_error_seconds)

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        """A request was refused; `model` is empty if there is none of that name."""
        self._series(self._rejected, model or _OTHER, reason).inc()

    def cancelled(self, model: str, stage: str) -> None:
        """A caller left while its image was at that stage."""
        self._series(self._cancelled, model, stage).inc()

    def load_failed(self, model: str) -> None:
        """A version of a model that the repository holds was refused, or its config.toml was."""
        self._series(self._load_failures, model).inc()

    def add_engine(self, engine: Engine) -> None:
        """Reads the engine's gauges at each scrape from now on."""
        self.registry.register(EngineGauges(engine))
        self.registry.register(DeviceGauges(engine))

    def _series(self, family: Counter, *labels: str) -> Counter:
        """A family's series with these labels; looking it up there checks every label again each time."""
        found = self._cached_series.get((family, labels))
        if found is None:
            found = self._cached_series[family, labels] = family.labels(*labels)
        return found

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, bounds: Iterable[float], *labels: str) -> HistogramFamily:
        return HistogramFamily(name, help_text, bounds, labels, self.registry)


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
