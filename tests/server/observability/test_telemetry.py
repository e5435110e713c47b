"""What is on and off, who is chosen, and how spans leave."""

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
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.collecting import PATIENCE_SECONDS, Collector, collecting

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.observability.otlp_export import OtlpTracerProvider
from linnaeus.server.observability.sampling import is_sampled
from linnaeus.server.observability.spans import SpanHandler
from linnaeus.server.observability.telemetry import Telemetry
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


def lasting(record: RequestRecord) -> dict[str, float]:
    return {stage.name: round(stage.ended_at - stage.began_at, 6) for stage in record.stages()}


def test_stages_follow_each_other_and_end_with_the_request() -> None:
    finished = replace(BATCH, finished_at=10.5)
    whole = {"decoder_queue": 0.1, "decode": 0.1, "queue": 0.1}
    assert lasting(replace(RECORD, batch=finished)) == {**whole, "inference": 0.2}
    assert lasting(RECORD) == {**whole, "inference": 0.3}, "its caller left before the device was done"
    assert lasting(replace(RECORD, batch=replace(BATCH, finished_at=10.9))) == {**whole, "inference": 0.3}
    assert lasting(replace(RECORD, batch=None)) == {"decoder_queue": 0.1, "decode": 0.1, "queue": 0.4}
    assert lasting(replace(RECORD, decoded_at=0.0)) == {}


@given(share=st.floats(0, 1), first=st.integers(0, 10**12), count=st.integers(1, 500))
def test_the_share_holds_over_any_stretch_of_requests(share: float, first: int, count: int) -> None:
    chosen = sum(is_sampled(number, share) for number in range(first, first + count))
    assert abs(chosen - share * count) < 10


def test_none_and_all_are_exactly_that() -> None:
    assert not any(is_sampled(number, 0.0) for number in range(1000))
    assert all(is_sampled(number, 1.0) for number in range(1000))


def test_off_means_no_record_handler_and_opentelemetry_is_not_even_imported() -> None:
    code = (
        "import sys, linnaeus.server.app\n"
        "from linnaeus.server.config.settings import Settings\n"
        "from linnaeus.server.observability.telemetry import Telemetry\n"
        "print(Telemetry(Settings(), '0').record_handler, [name for name in sys.modules if 'opentelemetry' in name])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "None []\n"


def test_a_missing_extra_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name
        for name in sys.modules
        if name.startswith(("linnaeus.server.observability.otlp_export", "linnaeus.server.observability.spans"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(StartupError, match=r"is not installed: pip install 'linnaeus\[otel\]'"):
        Telemetry(Settings(otel_endpoint="http://collector:4317"), "0")


@pytest.mark.parametrize(
    "endpoint",
    ["collector:4317", "ftp://collector:4317", "http://collector", "http://me:key@collector:4317", "http://:x"],
)
def test_an_endpoint_that_cannot_be_meant_is_refused_without_repeating_it(endpoint: str) -> None:
    with pytest.raises(StartupError, match="otel_endpoint must be") as refused:
        Telemetry(Settings(otel_endpoint=endpoint), "0")
    assert "key" not in str(refused.value)


@pytest.mark.parametrize("name", ["otel_sample", "request_log"])
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_none_and_all(name: str, share: float) -> None:
    chosen: dict[str, Any] = {name: share}
    with pytest.raises(StartupError, match=name):
        Settings(**chosen)


class RecordedSpans:
    """Spans, and what they made."""

    def __init__(self, share: float) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.spans = SpanHandler(provider.get_tracer("test"), share)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


def test_a_share_of_the_images_without_a_traced_caller_is_traced() -> None:
    spans = RecordedSpans(0.25).spans
    assert sum(spans.sample(number) is not None for number in range(1, 401)) == pytest.approx(100, abs=3)


def test_a_batch_is_traced_with_those_of_its_images_that_are_even_cancelled_ones() -> None:
    made, run = RecordedSpans(1.0), replace(BATCH)
    context = made.spans.sample(1)
    made.spans.request_ended(context, replace(RECORD, outcome="cancelled", batch=run))
    made.spans.request_ended(made.spans.sample(2), replace(RECORD, number=2, batch=run))
    assert not made.named("batch"), "its run is not over"
    run.finished_at, run.succeeded = 10.5, True
    made.spans.batch_ended(run)
    made.spans.batch_ended(BatchRecord(8, "lenet", 1, "cpu", 1, 11.0, 11.1, True))  # no request of it was sampled
    [batch] = made.named("batch")
    images = [span.context.span_id for span in made.named("classify") if span.context]
    assert [link.context.span_id for link in batch.links] == images and len(images) == 2


@pytest.mark.parametrize(("outcome", "is_error"), [("failed", True), ("deadline", True), ("queue_full", False)])
def test_faults_of_the_server_are_errors_and_those_of_callers_are_not(outcome: str, is_error: bool) -> None:
    made = RecordedSpans(1.0)
    made.spans.request_ended(made.spans.sample(1), replace(RECORD, outcome=outcome, batch=None))
    assert made.named("classify")[0].status.is_ok is not is_error


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with collecting() as made:
        yield made


def test_a_collector_that_takes_nothing_is_told_of_once_and_once_more_when_it_does(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    collector.refuses = True
    provider = OtlpTracerProvider(collector.endpoint, "0")
    for _ in range(3):
        provider.tracer.start_span("lost").end()
        assert collector.refused.acquire(timeout=PATIENCE_SECONDS)
    collector.refuses = False
    provider.tracer.start_span("sent").end()
    collector.wait_for(lambda spans: [span.name for span in spans] == ["sent"])
    provider.close()
    arguments = [getattr(record, "event", {}).get("event") for record in caplog.records]
    assert arguments == ["traces_lost", "traces_sent"]


def test_what_is_left_is_sent_at_the_end(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    provider = OtlpTracerProvider(collector.endpoint, "0")
    provider.tracer.start_span("last").end()
    provider.close()
    assert [span.name for span in collector.spans] == ["last"]


def test_a_collector_that_does_not_answer_holds_the_end_up_for_a_bounded_time(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.released.clear()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    provider = OtlpTracerProvider(collector.endpoint, "0")
    provider.tracer.start_span("stuck").end()
    assert collector.entered.wait(PATIENCE_SECONDS)
    began = time.monotonic()
    provider.close()
    assert time.monotonic() - began < 25, "the processor's own end takes 30 s"
