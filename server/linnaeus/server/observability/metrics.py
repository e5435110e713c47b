"""Prometheus metrics, on three hooks: calls (`CallObserver`), batches (`Observer`) and gauges read at a scrape."""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Info,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from linnaeus.server.engine.engine import Engine
from linnaeus.server.errors import StartupError
from linnaeus.server.model_store.catalog import Entry, State
from linnaeus.server.observability.device_gauges import DeviceGauges
from linnaeus.server.observability.histograms import Histograms
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
        self._found: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
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

    def watch(self, engine: Engine) -> None:
        """Reads the engine's gauges at each scrape from now on."""
        self.registry.register(_EngineGauges(engine))
        self.registry.register(DeviceGauges(engine))

    def _series(self, family: Counter, *labels: str) -> Counter:
        """A family's series with these labels; looking it up there checks every label again each time."""
        found = self._found.get((family, labels))
        if found is None:
            found = self._found[family, labels] = family.labels(*labels)
        return found

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, bounds: Iterable[float], *labels: str) -> Histograms:
        return Histograms(name, help_text, bounds, labels, self.registry)


class _EngineGauges(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[GaugeMetricFamily]:
        entries = self._engine.catalog.entries()
        ready = [entry for entry in entries if entry.state is State.READY]
        return [
            _gauge("linnaeus_in_flight", "Images admitted and not yet answered.", (), {(): self._engine.in_flight}),
            _gauge(
                "linnaeus_device_ready",
                "1 if batches run on the device, 0 if it failed and was taken out.",
                ("device",),
                {(name,): float(works) for name, works in self._engine.device_states.items()},
            ),
            _gauge(
                "linnaeus_model_ready",
                "1 if the version is served, 0 if it is to be and is not.",
                _VERSION,
                # What nobody wants served must not look like something that fails.
                {_version(entry): float(entry in ready) for entry in entries if entry.state is not State.UNLOADED},
            ),
            _gauge(
                "linnaeus_version_label_ready",
                "1 if the version that the label names is served.",
                ("model", "label"),
                {
                    (name, label): float((name, version) in {(entry.name, entry.version) for entry in ready})
                    for name in {entry.name for entry in entries}
                    for label, version in self._engine.catalog.labels(name).items()
                },
            ),
            _gauge(
                "linnaeus_model_load_seconds",
                "Time to load and warm up.",
                _VERSION,
                {_version(entry): entry.load_seconds for entry in ready},
            ),
            _gauge(
                "linnaeus_model_precision",
                "1 for the precision that the version computes in on the device.",
                (*_VERSION, "device", "precision"),
                {
                    (*_version(entry), made.device, made.precision): 1.0
                    for entry in ready
                    for made in entry.specialisations
                },
            ),
            _gauge(
                "linnaeus_queue_depth",
                "Images decoding or waiting for a device.",
                _VERSION,
                {_version(entry): self._engine.queue_depth(entry.lane) for entry in ready},
            ),
            _gauge(
                "linnaeus_prediction_margin_seconds",
                "What is added to predictions now, so that nearly all of them hold.",
                _VERSION,
                {_version(entry): self._engine.foreseen(entry.lane).margin_seconds for entry in ready},
            ),
            _gauge(
                "linnaeus_batch_expected_seconds",
                "How long nearly all batches of that size take now, with nothing beside them.",
                (*_VERSION, "device", "size"),
                {
                    (*_version(entry), device, str(size)): seconds
                    for entry in ready
                    for device, by_size in self._engine.batch_seconds(entry.lane).items()
                    for size, seconds in by_size.items()
                },
            ),
        ]


def _version(entry: Entry) -> tuple[str, str]:
    return entry.name, str(entry.version)


def _gauge(
    name: str, help_text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


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
