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
from linnaeus.server.observability.otlp_export import SpanSender
from linnaeus.server.observability.sampling import is_chosen
from linnaeus.server.observability.spans import Spans
from linnaeus.server.observability.telemetry import Telemetry
from linnaeus.server.requests.request import Priority
from linnaeus.server.requests.request_record import Journey, Run

RUN = Run(7, "lenet", 1, "cpu", 2, taken_at=10.3)
JOURNEY = Journey(
    number=1,
    model="lenet",
    version=1,
    outcome="answered",
    priority=Priority.NORMAL,
    image_bytes=100,
    timeout_seconds=None,
    came_at=10.0,
    ended_at=10.6,
    decode_seconds=0.1,
    decoded_at=10.2,
    run=RUN,
)


def lasting(journey: Journey) -> dict[str, float]:
    return {stage.name: round(stage.ended_at - stage.began_at, 6) for stage in journey.stages()}


def test_stages_follow_each_other_and_end_with_the_request() -> None:
    finished = replace(RUN, finished_at=10.5)
    whole = {"decoder_queue": 0.1, "decode": 0.1, "queue": 0.1}
    assert lasting(replace(JOURNEY, run=finished)) == {**whole, "inference": 0.2}
    assert lasting(JOURNEY) == {**whole, "inference": 0.3}, "its caller left before the device was done"
    assert lasting(replace(JOURNEY, run=replace(RUN, finished_at=10.9))) == {**whole, "inference": 0.3}
    assert lasting(replace(JOURNEY, run=None)) == {"decoder_queue": 0.1, "decode": 0.1, "queue": 0.4}
    assert lasting(replace(JOURNEY, decoded_at=0.0)) == {}


@given(share=st.floats(0, 1), first=st.integers(0, 10**12), count=st.integers(1, 500))
def test_the_share_holds_over_any_stretch_of_requests(share: float, first: int, count: int) -> None:
    chosen = sum(is_chosen(number, share) for number in range(first, first + count))
    assert abs(chosen - share * count) < 10


def test_none_and_all_are_exactly_that() -> None:
    assert not any(is_chosen(number, 0.0) for number in range(1000))
    assert all(is_chosen(number, 1.0) for number in range(1000))


def test_off_means_that_nobody_follows_and_opentelemetry_is_not_even_imported() -> None:
    code = (
        "import sys, linnaeus.server.app\n"
        "from linnaeus.server.config.settings import Settings\n"
        "from linnaeus.server.observability.telemetry import Telemetry\n"
        "print(Telemetry(Settings(), '0').follower, [name for name in sys.modules if 'opentelemetry' in name])"
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


class Made:
    """Spans, and what they made."""

    def __init__(self, share: float) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.spans = Spans(provider.get_tracer("test"), share)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


def test_a_share_of_the_images_without_a_traced_caller_is_traced() -> None:
    spans = Made(0.25).spans
    assert sum(spans.meet(number) is not None for number in range(1, 401)) == pytest.approx(100, abs=3)


def test_a_batch_is_traced_with_those_of_its_images_that_are_even_the_ones_that_left() -> None:
    made, run = Made(1.0), replace(RUN)
    mark = made.spans.meet(1)
    made.spans.ended(mark, replace(JOURNEY, outcome="cancelled", run=run))
    made.spans.ended(made.spans.meet(2), replace(JOURNEY, number=2, run=run))
    assert not made.named("batch"), "its run is not over"
    run.finished_at, run.succeeded = 10.5, True
    made.spans.ran(run)
    made.spans.ran(Run(8, "lenet", 1, "cpu", 1, 11.0, 11.1, True))  # nobody in it was followed
    [batch] = made.named("batch")
    images = [span.context.span_id for span in made.named("classify") if span.context]
    assert [link.context.span_id for link in batch.links] == images and len(images) == 2


@pytest.mark.parametrize(("outcome", "is_error"), [("failed", True), ("deadline", True), ("queue_full", False)])
def test_faults_of_the_server_are_errors_and_those_of_callers_are_not(outcome: str, is_error: bool) -> None:
    made = Made(1.0)
    made.spans.ended(made.spans.meet(1), replace(JOURNEY, outcome=outcome, run=None))
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
    sender = SpanSender(collector.endpoint, "0")
    for _ in range(3):
        sender.tracer.start_span("lost").end()
        assert collector.refused.acquire(timeout=PATIENCE_SECONDS)
    collector.refuses = False
    sender.tracer.start_span("sent").end()
    collector.wait_for(lambda spans: [span.name for span in spans] == ["sent"])
    sender.close()
    told = [getattr(record, "event", {}).get("event") for record in caplog.records]
    assert told == ["traces_lost", "traces_sent"]


def test_what_is_left_is_sent_at_the_end(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    sender = SpanSender(collector.endpoint, "0")
    sender.tracer.start_span("last").end()
    sender.close()
    assert [span.name for span in collector.spans] == ["last"]


def test_a_collector_that_does_not_answer_holds_the_end_up_for_a_bounded_time(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.released.clear()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    sender = SpanSender(collector.endpoint, "0")
    sender.tracer.start_span("stuck").end()
    assert collector.entered.wait(PATIENCE_SECONDS)
    began = time.monotonic()
    sender.close()
    assert time.monotonic() - began < 25, "the processor's own end takes 30 s"
