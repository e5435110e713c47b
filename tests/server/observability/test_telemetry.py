"""Telemetry: what the settings enable, which requests are sampled, and how spans are exported."""

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.otlp_collector import TIMEOUT_SECONDS, Collector, run_collector
from tests.server.injected_faults import FailsFirst, refuse_threads

from linnaeus.server.config.settings import Settings, read_settings
from linnaeus.server.errors import StartupError
from linnaeus.server.observability.otlp_export import OtlpTracerProvider
from linnaeus.server.observability.sampling import is_sampled
from linnaeus.server.observability.spans import SpanHandler
from linnaeus.server.observability.telemetry import Telemetry
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.request import Priority
from linnaeus.server.requests.request_record import BatchRecord, RequestRecord

BATCH = BatchRecord(7, "lenet", 1, "cpu", 2, taken_at=10.3)
RECORD = RequestRecord(
    number=1,
    model="lenet",
    version=1,
    outcome="answered",
    priority=Priority.NORMAL,
    image_bytes=100,
    timeout_seconds=None,
    arrived_at=10.0,
    ended_at=10.6,
    decode_seconds=0.1,
    decoded_at=10.2,
    batch=BATCH,
)


def stage_seconds(record: RequestRecord) -> dict[str, float]:
    return {stage.name: round(stage.ended_at - stage.began_at, 6) for stage in record.stages()}


def test_stages_are_consecutive_and_end_with_the_request() -> None:
    finished_batch = replace(BATCH, finished_at=10.5)
    before = {"decoder_queue": 0.1, "decode": 0.1, "queue": 0.1}
    assert stage_seconds(replace(RECORD, batch=finished_batch)) == {**before, "inference": 0.2}
    assert stage_seconds(RECORD) == {**before, "inference": 0.3}, "its caller cancelled before the batch ended"
    assert stage_seconds(replace(RECORD, batch=replace(BATCH, finished_at=10.9))) == {
        **before,
        "inference": 0.3,
    }
    assert stage_seconds(replace(RECORD, batch=None)) == {"decoder_queue": 0.1, "decode": 0.1, "queue": 0.4}
    assert stage_seconds(replace(RECORD, decoded_at=0.0)) == {}


@given(share=st.floats(0, 1), first=st.integers(0, 10**12), count=st.integers(1, 500))
def test_the_share_holds_over_any_run_of_requests(share: float, first: int, count: int) -> None:
    count_sampled = sum(is_sampled(number, share) for number in range(first, first + count))
    assert abs(count_sampled - share * count) < 10


def test_the_shares_zero_and_one_sample_none_and_all() -> None:
    assert not any(is_sampled(number, 0.0) for number in range(1000))
    assert all(is_sampled(number, 1.0) for number in range(1000))


def test_without_telemetry_there_is_no_record_handler_and_opentelemetry_is_not_imported() -> None:
    code = (
        "import sys, linnaeus.server.app\n"
        "from linnaeus.server.config.settings import Settings\n"
        "from linnaeus.server.observability.telemetry import Telemetry\n"
        "handler = Telemetry(Settings(), '0', None).record_handler\n"
        "print(handler, [name for name in sys.modules if 'opentelemetry' in name])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "None []\n"


def test_a_missing_extra_is_a_startup_error_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name
        for name in sys.modules
        if name.startswith(("linnaeus.server.observability.otlp_export", "linnaeus.server.observability.spans"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(StartupError, match=r"is not installed: pip install 'linnaeus\[otel\]'"):
        Telemetry(Settings(otel_endpoint="http://collector:4317"), "0", Supervisor())


@pytest.mark.parametrize(
    "endpoint",
    ["collector:4317", "ftp://collector:4317", "http://collector", "http://me:key@collector:4317", "http://:x"],
)
def test_an_invalid_endpoint_is_refused_without_quoting_it(endpoint: str) -> None:
    with pytest.raises(StartupError, match="otel_endpoint must be") as refused:
        Telemetry(Settings(otel_endpoint=endpoint), "0", Supervisor())
    assert "key" not in str(refused.value)


@pytest.mark.parametrize("name", ["otel_sample", "request_log"])
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_zero_to_one_is_a_startup_error(name: str, share: float) -> None:
    chosen: dict[str, Any] = {name: share}
    with pytest.raises(StartupError, match=name):
        read_settings(**chosen)


class SpanRecorder:
    """A `SpanHandler` and the spans that it created."""

    def __init__(self, share: float) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.handler = SpanHandler(provider.get_tracer("test"), share)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


def test_a_share_of_the_requests_without_a_trace_context_is_sampled() -> None:
    handler = SpanRecorder(0.25).handler
    assert sum(handler.sample(number) is not None for number in range(1, 401)) == pytest.approx(100, abs=3)


def test_a_batch_links_to_its_sampled_requests_cancelled_ones_included() -> None:
    recorder, batch = SpanRecorder(1.0), replace(BATCH)
    context = recorder.handler.sample(1)
    recorder.handler.request_ended(context, replace(RECORD, outcome="cancelled", batch=batch))
    recorder.handler.request_ended(recorder.handler.sample(2), replace(RECORD, number=2, batch=batch))
    assert not recorder.named("batch"), "the batch has not ended"
    batch.finished_at, batch.succeeded = 10.5, True
    recorder.handler.batch_ended(batch)
    recorder.handler.batch_ended(BatchRecord(8, "lenet", 1, "cpu", 1, 11.0, 11.1, True))  # has no sampled request
    [span] = recorder.named("batch")
    requests = [each.context.span_id for each in recorder.named("classify") if each.context]
    assert [link.context.span_id for link in span.links] == requests and len(requests) == 2


@pytest.mark.parametrize(("outcome", "is_error"), [("failed", True), ("deadline", True), ("queue_full", False)])
def test_failures_of_the_server_are_span_errors_and_those_of_callers_are_not(outcome: str, is_error: bool) -> None:
    recorder = SpanRecorder(1.0)
    recorder.handler.request_ended(recorder.handler.sample(1), replace(RECORD, outcome=outcome, batch=None))
    assert recorder.named("classify")[0].status.is_ok is not is_error


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with run_collector() as running_collector:
        yield running_collector


def test_a_failing_collector_is_logged_once_and_its_recovery_once(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    collector.refuses = True
    provider = OtlpTracerProvider(collector.endpoint, "0", Supervisor())
    for _ in range(3):
        provider.tracer.start_span("lost").end()
        assert collector.refused.acquire(timeout=TIMEOUT_SECONDS)
    collector.refuses = False
    provider.tracer.start_span("sent").end()
    collector.wait_for(lambda spans: [span.name for span in spans] == ["sent"])
    provider.close()
    events = [getattr(record, "event", {}).get("event") for record in caplog.records]
    assert events == ["traces_lost", "traces_sent"]


def test_a_fault_of_the_export_does_not_end_it(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[str] = []
    fault = FailsFirst(OTLPSpanExporter.export, SystemExit)
    monkeypatch.setattr(OTLPSpanExporter, "export", lambda exporter, spans: fault(exporter, spans))
    provider = OtlpTracerProvider(collector.endpoint, "0", Supervisor(faults.append))
    provider.tracer.start_span("lost").end()
    assert fault.raised.wait(TIMEOUT_SECONDS)
    provider.tracer.start_span("sent").end()
    collector.wait_for(lambda spans: [span.name for span in spans] == ["sent"])
    provider.close()
    assert faults == ["trace_export"] and "trace export failed [" in caplog.text


async def test_closing_without_a_thread_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[str] = []
    telemetry = Telemetry(Settings(otel_endpoint="http://127.0.0.1:1"), "0", Supervisor(faults.append))
    with monkeypatch.context() as limited:
        refuse_threads(limited)
        await telemetry.close()
    assert faults == ["trace_export"]
    await telemetry.close()


def test_closing_exports_the_remaining_spans(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    provider = OtlpTracerProvider(collector.endpoint, "0", Supervisor())
    provider.tracer.start_span("last").end()
    provider.close()
    assert [span.name for span in collector.spans] == ["last"]


def test_closing_takes_a_bounded_time_if_the_collector_does_not_answer(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.released.clear()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    provider = OtlpTracerProvider(collector.endpoint, "0", Supervisor())
    provider.tracer.start_span("stuck").end()
    assert collector.entered.wait(TIMEOUT_SECONDS)
    began = time.monotonic()
    provider.close()
    assert time.monotonic() - began < 25, "the processor's own shutdown takes 30 s"
