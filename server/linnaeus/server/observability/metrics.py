"""The Prometheus metrics of a server: of calls (`CallObserver`), of requests and batches (`Observer`), and gauges."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from linnaeus.server.model_store.catalog import Entry, ModelState
from linnaeus.server.observability.device_gauges import DeviceGauges
from linnaeus.server.observability.engine_gauges import EngineGauges
from linnaeus.server.observability.event_log_counter import EventLogCounter
from linnaeus.server.observability.histograms import HistogramFamily
from linnaeus.server.observability.repository_counters import RepositoryCounters
from linnaeus.server.observability.series import CounterFamily, SeriesFamily
from linnaeus.server.observability.unserved_versions import Unserved
from linnaeus.server.requests.event_log import EventLog
from linnaeus.server.requests.request import BatchReport

if TYPE_CHECKING:  # a front end has no core, and the engine no calls
    from linnaeus.server.engine.core import EngineCore
    from linnaeus.server.rpc.interceptor import Method

# Seconds, from one LeNet image (below a millisecond) to a deep network under overload.
_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ERROR_SECONDS = (-0.5, -0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Label value for unknown models: names sent by callers never become label values.
_UNKNOWN_MODEL = "_other"
# Label names.
_CALL = ("grpc_service", "grpc_method", "grpc_type")
_VERSION = ("model", "version")
_STAGES = ("decode", "queue", "inference", "respond")


class Metrics:
    """All metrics of one server, in their own registry.

    Implements the engine's `Observer`, the RPC layer's `CallObserver` and the HTTP layer's `HttpObserver`. Counters and
    histograms belong to the event loop's thread, except in `thread_failed`.

    Label values come from the server, never from callers: names of models in the repository, and of methods that exist.

    Args:
        version: the server's release.
        clock: monotonic time, in seconds.

    Attributes:
        registry: the registry of all metrics.
    """

    def __init__(self, version: str, clock: Callable[[], float] = time.monotonic) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the series of each counter, and few scrapers read them
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._calls_started = self._counter("grpc_server_started", "Calls begun.", *_CALL)
        self._calls_handled = self._counter("grpc_server_handled", "Calls ended, by status code.", *_CALL, "grpc_code")
        self._call_seconds = self._histogram("grpc_server_handling_seconds", "Time of a whole call.", _SECONDS, *_CALL)
        self._http_seconds = self._histogram(
            "linnaeus_http_request_seconds", "Time of a request over HTTP.", _SECONDS, "route", "method", "status"
        )
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
        self._batch_size = self._histogram("linnaeus_batch_size", "Images in a run.", _BATCH_SIZES, *_VERSION)
        self._rejected = self._counter("linnaeus_rejected", "Images that got no answer, by reason.", "model", "reason")
        self._cancelled = self._counter("linnaeus_cancelled", "Images whose caller left.", "model", "stage")
        self._load_failures = self._counter("linnaeus_model_load_failures", "Loads that were refused.", "model")
        self._failed = self._counter("linnaeus_failed", "Images on which the model failed.", "model", "version")
        self._thread_failures = Counter(  # of any thread
            "linnaeus_thread_failures",
            "Faults that escaped from the work of a thread or task.",
            ("thread",),
            registry=self.registry,
        )
        self._device_busy = self._counter(
            "linnaeus_device_busy_seconds", "Time in which streams of the device ran batches, added up.", "device"
        )
        self._unserved_versions: Unserved[tuple[str, str]] = Unserved(clock)
        self._unserved_models: Unserved[str] = Unserved(clock)
        Info("linnaeus_build", "The server's release.", registry=self.registry).info({"version": version})

    def call_started(self, method: "Method") -> None:
        """Counts a started call."""
        self._calls_started.labels(method.service, method.name, method.kind).inc()

    def call_handled(self, method: "Method", code: str, seconds: float) -> None:
        """Counts an ended call and observes its duration."""
        self._calls_handled.labels(method.service, method.name, method.kind, code).inc()
        self._call_seconds.labels(method.service, method.name, method.kind).observe(seconds)

    def http_handled(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request over HTTP and observes its duration."""
        self._http_seconds.labels(route, method, str(status)).observe(seconds)

    def batch(self, report: BatchReport) -> None:
        """Counts a finished batch and observes the timings of its requests."""
        labels = (report.model, str(report.version))
        if report.size:
            self._device_busy.labels(report.device).inc(report.inference_seconds)
            self._batch_size.labels(*labels).observe(report.size)
        if report.failed:
            self._failed.labels(*labels).inc(report.failed)
        decode, queue, inference, respond = [self._stage_seconds.labels(*labels, stage) for stage in _STAGES]
        total = self._request_seconds.labels(*labels)
        error = self._prediction_error.labels(*labels)
        for request in report.requests:
            decode.observe(request.decode_seconds)
            queue.observe(request.queue_seconds)
            inference.observe(request.inference_seconds)
            respond.observe(request.respond_seconds)
            total.observe(request.total_seconds)
            if request.prediction_error_seconds is not None:
                error.observe(request.prediction_error_seconds)

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        """Counts a request without an answer; `model` is empty if the model is unknown."""
        self._rejected.labels(model or _UNKNOWN_MODEL, reason).inc()

    def cancelled(self, model: str, stage: str) -> None:
        """Counts a request that its caller cancelled at a stage."""
        self._cancelled.labels(model, stage).inc()

    def load_failed(self, model: str) -> None:
        """Counts a refused version, or a refused config.toml, of a model in the repository."""
        self._load_failures.labels(model).inc()

    def thread_failed(self, part: str) -> None:
        """Counts a fault that escaped from a part of the server. Any thread may call it."""
        self._thread_failures.labels(part).inc()

    def add_engine(self, core: "EngineCore", in_flight: Callable[[], int]) -> None:
        """Adds the gauges of a core, whose requests `in_flight` counts, of its devices and its repository."""
        self.registry.register(EngineGauges(core, in_flight))
        self.registry.register(DeviceGauges(core))
        if core.repository.statistics is not None:
            self.registry.register(RepositoryCounters(core.repository.statistics))

    def add_event_log(self, event_log: EventLog) -> None:
        """Adds the counter of the event log's lost lines to the registry."""
        self.registry.register(EventLogCounter(event_log))

    def drop_unserved(self, entries: Sequence[Entry]) -> float | None:
        """Drops the series of versions and models that have not been served for a while.

        Args:
            entries: the catalog's entries.

        Returns:
            The seconds until there is more to drop; None if all series are of what is served.
        """
        loaded = [entry for entry in entries if entry.state not in (ModelState.UNLOADED, ModelState.FAILED)]
        served_versions = {(entry.name, str(entry.version)) for entry in loaded}
        recorded_versions = {(name, version) for name, version, *_ in _label_values(self._version_families)}
        for key in self._unserved_versions.update(recorded_versions, served_versions):
            _drop(self._version_families, key)
        # A model of which every load was refused keeps its counters while it is in the repository.
        known_models = {entry.name for entry in entries if entry.state is not ModelState.UNLOADED}
        recorded_models = {name for name, *_ in _label_values(self._model_families)} - {_UNKNOWN_MODEL}
        for model in self._unserved_models.update(recorded_models, known_models):
            _drop(self._model_families, (model,))
        waits = (self._unserved_versions.seconds_to_next(), self._unserved_models.seconds_to_next())
        return min((seconds for seconds in waits if seconds is not None), default=None)

    @property
    def _version_families(self) -> Sequence[SeriesFamily[Any]]:
        """The metrics whose labels begin with model and version."""
        histograms = (self._stage_seconds, self._request_seconds, self._prediction_error, self._batch_size)
        return (*histograms, self._failed)

    @property
    def _model_families(self) -> Sequence[SeriesFamily[Any]]:
        """The metrics whose labels begin with model, and have no version."""
        return (self._rejected, self._cancelled, self._load_failures)

    def _counter(self, name: str, help_text: str, *labels: str) -> CounterFamily:
        return CounterFamily(name, help_text, labels, self.registry)

    def _histogram(self, name: str, help_text: str, bounds: Iterable[float], *labels: str) -> HistogramFamily:
        return HistogramFamily(name, help_text, bounds, labels, self.registry)


def _label_values(families: Iterable[SeriesFamily[Any]]) -> Iterable[tuple[str, ...]]:
    """Yields the label values of every series of these metrics."""
    for family in families:
        yield from family.label_values()


def _drop(families: Iterable[SeriesFamily[Any]], prefix: tuple[str, ...]) -> None:
    """Drops the series of these metrics whose label values begin with `prefix`."""
    for family in families:
        for labels in family.label_values():
            if labels[: len(prefix)] == prefix:
                family.remove(*labels)
