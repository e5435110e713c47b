"""Traces of real servers as a collector sees them, and the request log as its reader does."""

import json
import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.collecting import Collector, collecting

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

STAGES = ["decoder_queue", "decode", "queue", "inference"]
CANARY = b"canary-in-the-picture"
ROOT = Path(__file__).resolve().parent.parent.parent
PARENT_SPAN = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def traced(repository: Path, collector: Collector) -> Iterator[ServerProcess]:
    """A server that traces all."""
    flags = ["--otel-endpoint", collector.endpoint]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_SERVICE_NAME", "museum")
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=insects")
        with ServerProcess("--repository", str(repository), "--models", "lenet", *flags) as process:
            yield process


@pytest.fixture(scope="module")
def traced_channel(traced: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(traced.target) as made:
        yield made


@pytest.fixture(scope="module")
def digit() -> bytes:
    return (ROOT / "pictures" / "digits" / "4.png").read_bytes()


class Caller:
    """One caller with a trace of its own."""

    def __init__(self, flags: str = "01") -> None:
        self.trace_id = secrets.token_hex(16)
        traceparent = f"00-{self.trace_id}-{PARENT_SPAN}-{flags}"
        self.metadata = [("traceparent", traceparent), ("tracestate", "congo=t61rcWkgMzE")]

    def images(self, spans: Sequence[Span]) -> list[Span]:
        """The spans of this caller's images."""
        return [span for span in spans if span.trace_id.hex() == self.trace_id and span.name == "classify"]


def attributes(span: Span) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def below(spans: Sequence[Span], parent: Span) -> list[Span]:
    return [span for span in spans if span.parent_span_id == parent.span_id]


def has_images(caller: Caller, count: int) -> Any:
    """Whether that many images of the caller have arrived, and each one's batch."""

    def is_enough(spans: list[Span]) -> bool:
        images = {image.span_id for image in caller.images(spans)}
        linked = {link.span_id for span in spans if span.name == "batch" for link in span.links}
        return len(images) == count and images <= linked

    return is_enough


def classify(channel: grpc.Channel, caller: Caller, encoded: bytes, **fields: Any) -> v1.ClassifyResponse:
    request = v1.ClassifyRequest(image=v1.Image(encoded=encoded), **{"model": "lenet", **fields})
    return ClassifierServiceStub(channel).Classify(request, timeout=30, metadata=caller.metadata)


def test_an_image_belongs_to_its_callers_trace_with_its_stages_in_order(
    traced_channel: grpc.Channel, collector: Collector, digit: bytes
) -> None:
    caller = Caller()
    answer = classify(traced_channel, caller, digit)
    spans = collector.wait_for(has_images(caller, 1))
    [image] = caller.images(spans)
    assert image.parent_span_id.hex() == PARENT_SPAN and image.trace_state == "congo=t61rcWkgMzE"
    stages = sorted(below(spans, image), key=lambda span: span.start_time_unix_nano)
    assert [stage.name for stage in stages] == STAGES and {stage.trace_id for stage in stages} == {image.trace_id}
    moments = [image.start_time_unix_nano]
    for stage in stages:
        moments += [stage.start_time_unix_nano, stage.end_time_unix_nano]
    moments.append(image.end_time_unix_nano)
    assert moments == sorted(moments)
    decode = stages[1].end_time_unix_nano - stages[1].start_time_unix_nano
    assert decode == pytest.approx(answer.timings.decode_seconds * 1e9, abs=2000)
    told = attributes(image)
    assert (told["linnaeus.model"], told["linnaeus.version"], told["linnaeus.outcome"]) == ("lenet", 1, "answered")
    assert told["linnaeus.image_bytes"] == len(digit)
    assert told["rpc.method"] == "linnaeus.v1.ClassifierService/Classify"


def test_a_batch_links_to_all_its_images_and_each_back_to_its_batch(
    traced_channel: grpc.Channel, collector: Collector, digit: bytes
) -> None:
    caller, count = Caller(), 24
    images = [v1.Image(encoded=digit)] * count
    request = v1.ClassifyBatchRequest(images=images, model="lenet")
    ClassifierServiceStub(traced_channel).ClassifyBatch(request, timeout=30, metadata=caller.metadata)
    spans = collector.wait_for(has_images(caller, count))
    own = {image.span_id: image for image in caller.images(spans)}
    batches = [span for span in spans if span.name == "batch" and {link.span_id for link in span.links} & set(own)]
    assert {link.span_id for batch in batches for link in batch.links} == set(own)
    for batch in batches:
        assert not batch.parent_span_id and batch.trace_id.hex() != caller.trace_id
        assert attributes(batch)["linnaeus.batch_size"] == len(batch.links)
        for link in batch.links:
            [inference] = [each for each in below(spans, own[link.span_id]) if each.name == "inference"]
            assert [back.span_id for back in inference.links] == [batch.span_id]
            assert link.trace_id.hex() == caller.trace_id


def test_images_of_a_stream_are_traced_whoevers_protocol_it_speaks(
    traced_channel: grpc.Channel, collector: Collector, digit: bytes
) -> None:
    own, theirs = Caller(), Caller()
    messages = [v1.StreamClassifyRequest(image=v1.Image(encoded=digit), model="lenet")] * 3
    stub = ClassifierServiceStub(traced_channel)
    assert len(list(stub.StreamClassify(iter(messages), timeout=30, metadata=own.metadata))) == 3
    tensor = kserve.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[1, 1, 28, 28])
    asked = kserve.ModelInferRequest(model_name="lenet.pixels", inputs=[tensor], raw_input_contents=[bytes(28 * 28)])
    streamed = kserve_grpc.GRPCInferenceServiceStub(traced_channel).ModelStreamInfer(
        iter([asked] * 2), timeout=30, metadata=theirs.metadata
    )
    assert [answer.error_message for answer in streamed] == ["", ""]
    collector.wait_for(has_images(own, 3))
    collector.wait_for(has_images(theirs, 2))


def test_a_caller_who_is_not_traced_stays_untraced(
    traced_channel: grpc.Channel, collector: Collector, digit: bytes
) -> None:
    quiet, loud = Caller(flags="00"), Caller()
    classify(traced_channel, quiet, digit)
    classify(traced_channel, loud, digit)
    spans = collector.wait_for(has_images(loud, 1))  # spans arrive in their order
    assert not quiet.images(spans)


def test_what_is_refused_has_a_span_that_says_why(
    traced_channel: grpc.Channel, collector: Collector, digit: bytes
) -> None:
    unknown, broken, late = Caller(), Caller(), Caller()
    with pytest.raises(grpc.RpcError):
        classify(traced_channel, unknown, digit, model="no-such-model")
    with pytest.raises(grpc.RpcError):
        classify(traced_channel, broken, b"no picture")
    images = [v1.Image(encoded=digit)] * 2
    with pytest.raises(grpc.RpcError):
        ClassifierServiceStub(traced_channel).ClassifyBatch(
            v1.ClassifyBatchRequest(images=images, model="no-such-model"), timeout=30, metadata=late.metadata
        )
    for caller, outcome, count in ((unknown, "not_found", 1), (broken, "invalid_image", 1), (late, "not_found", 2)):
        spans = collector.wait_for(lambda spans, caller=caller, count=count: len(caller.images(spans)) == count)
        for image in caller.images(spans):
            assert attributes(image)["linnaeus.outcome"] == outcome
            assert image.status.code != Status.STATUS_CODE_ERROR, "the fault is the caller's"
            assert not below(spans, image)


def test_the_environment_names_the_service_and_sends_headers(
    traced_channel: grpc.Channel, collector: Collector, digit: bytes
) -> None:
    caller = Caller()
    classify(traced_channel, caller, digit)
    collector.wait_for(has_images(caller, 1))
    assert {resource["service.name"] for resource in collector.resources} == {"museum"}
    assert {metadata.get("x-tenant") for metadata in collector.metadata} == {"insects"}


@dataclass
class Lonely:
    """A server whose collector was never there, once it has stopped.

    Attributes:
        code: it ended with.
        logs: all of them.
        answered, refused: two callers of it.
        image_bytes: what the first one sent.
    """

    code: int
    logs: list[dict[str, Any]]
    answered: Caller
    refused: Caller
    image_bytes: int

    def lines(self, caller: Caller) -> list[dict[str, Any]]:
        """The request log's lines of a caller."""
        return [line for line in self.logs if line.get("trace_id") == caller.trace_id]


@pytest.fixture(scope="module")
def lonely(repository: Path, digit: bytes) -> Iterator[Lonely]:
    answered, refused = Caller(), Caller()
    answered.metadata.append(("authorization", "Bearer canary-in-the-token"))
    with socket.socket() as nobody, pytest.MonkeyPatch.context() as patch:
        nobody.bind(("127.0.0.1", 0))  # and never listens
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        patch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        flags = ["--otel-endpoint", f"http://127.0.0.1:{nobody.getsockname()[1]}", "--request-log", "1"]
        with ServerProcess("--repository", str(repository), "--models", "lenet", *flags) as process:
            with grpc.insecure_channel(process.target) as channel:
                classify(channel, answered, digit + CANARY, priority=v1.PRIORITY_HIGH)
                with pytest.raises(grpc.RpcError):
                    classify(channel, refused, CANARY * 3, model="canary-in-the-model")
            code = process.stop(patience_seconds=25)  # without a bound of ours, the last flush takes 30 s
        yield Lonely(code, process.logs, answered, refused, len(digit + CANARY))


def test_a_collector_that_is_away_harms_nobody_and_holds_no_stop_up(lonely: Lonely) -> None:
    assert lonely.code == 0
    assert [line["outcome"] for line in lonely.lines(lonely.answered)] == ["answered"]
    assert not [line for line in lonely.logs if "opentelemetry" in str(line.get("logger", line))]
    assert sum(line.get("event") == "traces_lost" for line in lonely.logs) <= 1


def test_a_line_of_the_request_log_tells_all_but_the_picture(lonely: Lonely) -> None:
    [line] = lonely.lines(lonely.answered)
    assert (line["event"], line["level"], line["method"]) == (
        "request",
        "info",
        "linnaeus.v1.ClassifierService/Classify",
    )
    assert (line["model"], line["version"], line["priority"], line["caller"]) == ("lenet", 1, "high", "address")
    assert line["image_bytes"] == lonely.image_bytes and 20_000 < line["deadline_ms"] < 31_000
    assert (line["batch"], line["batch_size"]) == (1, 1)
    assert 0 < sum(line[f"{stage}_ms"] for stage in STAGES) <= line["total_ms"] + 0.01
    [line] = lonely.lines(lonely.refused)
    assert (line["outcome"], line["model"], line["version"]) == ("not_found", "", 0)
    assert line["batch"] is None and "decode_ms" not in line


def test_no_line_of_the_log_holds_a_picture_a_token_or_what_was_asked_for_in_vain(lonely: Lonely) -> None:
    assert lonely.lines(lonely.answered) and "canary" not in json.dumps(lonely.logs)
