"""An OpenTelemetry collector in this process: it receives spans over OTLP and keeps them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TIMEOUT_SECONDS = 60


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps spans. While `refuses` is set it refuses them; while `released` is cleared it does not answer."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self.metadata: list[dict[str, Any]] = []
        self.refuses = False
        self.refused = threading.Semaphore(0)
        self.released = threading.Event()
        self.released.set()
        self.entered = threading.Event()
        self._changed = threading.Condition()
        self.endpoint = ""

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.entered.set()
        self.released.wait(TIMEOUT_SECONDS)
        if self.refuses:
            self.refused.release()
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not today")
        with self._changed:
            self.metadata.append(dict(context.invocation_metadata()))
            for each in request.resource_spans:
                self.resources.append({pair.key: pair.value.string_value for pair in each.resource.attributes})
                self.spans += [span for scope in each.scope_spans for span in scope.spans]
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait_for(self, is_enough: Callable[[list[Span]], bool]) -> list[Span]:
        """Waits until the spans satisfy `is_enough`, and returns all of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: is_enough(self.spans), TIMEOUT_SECONDS), "the spans did not come"
            return list(self.spans)


@contextmanager
def run_collector() -> Iterator[Collector]:
    """Runs a collector that listens on a free port."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        collector.released.set()
        server.stop(None).wait()
