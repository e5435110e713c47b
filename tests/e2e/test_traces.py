"""OpenTelemetry traces of real servers as a collector receives them, and the request log."""

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
from tests.e2e.forked_server import ForkedServer
from tests.otlp_collector import Collector, run_collector

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
    with run_collector() as made:
        yield made


@pytest.fixture(scope="module")
def traced(repository: Path, collector: Collector) -> Iterator[ServerProcess]:
    """A server that exports all traces."""
    flags = ["--otel-endpoint", collector.endpoint]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_SERVICE_NAME", "museum")
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=insects")
        with ForkedServer("--repository", str(repository), "--models", "lenet", *flags) as process:
            yield process


@pytest.fixture(scope="module")
def traced_channel(traced: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(traced.target) as made:
        yield made


@pytest.fixture(scope="module")
def digit() -> bytes:
    return (ROOT / "pictures" / "digits" / "4.png").read_bytes()


class Caller:
    """A caller with its own trace."""

    def __init__(self, flags: str = "01") -> None:
        self.trace_id = secrets.token_hex(16)
        traceparent = f"00-{self.trace_id}-{PARENT_SPAN}-{flags}"
        self.metadata = [("traceparent", traceparent), ("tracestate", "congo=t61rcWkgMzE")]

    def images(self, spans: Sequence[Span]) -> list[Span]:
        """Returns the spans of this caller's images."""
        return [span for span in spans if span.trace_id.hex() == self.trace_id and span.name == "classify"]


def attributes(span: Span) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def children(spans: Sequence[Span], parent: Span) -> list[Span]:
    return [span for span in spans if span.parent_span_id == parent.span_id]


def has_images(caller: Caller, count: int) -> Any:
    """Returns a predicate: whether this many images of the caller have arrived, each with its batch."""

    def is_enough(spans: list[Span]) -> bool:
        images = {image.span_id for image in caller.images(spans)}
        linked = {link.span_id for span in spans if span.name == "batch" for link in span.links}
        return len(images) == count and images <= linked

    return is_enough


def classify(channel: grpc.Channel, caller: Caller, encoded: bytes, **fields: Any) -> v1.ClassifyResponse:
    request = v1.ClassifyRequest(image=v1.Image(encoded=encoded), **{"model": "lenet", **fields})
    return ClassifierServiceStub(channel).Classify(request, timeout=30, metadata=caller.metadata)


def test_an_image_has_a_span_in_its_callers_trace_with_its_stages_in_order(
    traced_channel: grpc.Channel, collector: Collector, digit: bytes
) -> None:
    caller = Caller()
    answer = classify(traced_channel, caller, digit)
    spans = collector.wait_for(has_images(caller, 1))
    [image] = caller.images(spans)
    assert image.parent_span_id.hex() == PARENT_SPAN and image.trace_state == "congo=t61rcWkgMzE"
    stages = sorted(children(spans, image), key=lambda span: span.start_time_unix_nano)
    assert [stage.name for stage in stages] == STAGES and {stage.trace_id for stage in stages} == {image.trace_id}
    moments = [image.start_time_unix_nano]
    for stage in stages:
        moments += [stage.start_time_unix_nano, stage.end_time_unix_nano]
    moments.append(image.end_time_unix_nano)
    assert moments == sorted(moments)
    decode = stages[1].end_time_unix_nano - stages[1].start_time_unix_nano
    assert decode == pytest.approx(answer.timings.decode_seconds * 1e9, abs=2000)
    values = attributes(image)
    assert (values["linnaeus.model"], values["linnaeus.version"], values["linnaeus.outcome"]) == (
        "lenet",
        1,
        "answered",
    )
    assert values["linnaeus.image_bytes"] == len(digit)
    assert values["rpc.method"] == "linnaeus.v1.ClassifierService/Classify"


def test_a_batch_span_links_to_its_images_and_each_of_them_back(
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
            [inference] = [each for each in children(spans, own[link.span_id]) if each.name == "inference"]
            assert [back.span_id for back in inference.links] == [batch.span_id]
            assert link.trace_id.hex() == caller.trace_id


def test_images_of_a_stream_are_traced_in_both_protocols(
    traced_channel: grpc.Channel, collector: Collector, digit: bytes
) -> None:
    own, theirs = Caller(), Caller()
    messages = [v1.StreamClassifyRequest(image=v1.Image(encoded=digit), model="lenet")] * 3
    stub = ClassifierServiceStub(traced_channel)
    assert len(list(stub.StreamClassify(iter(messages), timeout=30, metadata=own.metadata))) == 3
    tensor = kserve.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[1, 1, 28, 28])
    infer_request = kserve.ModelInferRequest(
        model_name="lenet.pixels", inputs=[tensor], raw_input_contents=[bytes(28 * 28)]
    )
    streamed = kserve_grpc.GRPCInferenceServiceStub(traced_channel).ModelStreamInfer(
        iter([infer_request] * 2), timeout=30, metadata=theirs.metadata
    )
    assert [answer.error_message for answer in streamed] == ["", ""]
    collector.wait_for(has_images(own, 3))
    collector.wait_for(has_images(theirs, 2))


def test_a_caller_without_the_sampled_flag_is_not_traced(
    traced_channel: grpc.Channel, collector: Collector, digit: bytes
) -> None:
    quiet, loud = Caller(flags="00"), Caller()
    classify(traced_channel, quiet, digit)
    classify(traced_channel, loud, digit)
    spans = collector.wait_for(has_images(loud, 1))  # spans arrive in order
    assert not quiet.images(spans)


def test_a_refused_image_has_a_span_with_its_outcome(
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
            assert not children(spans, image)


def test_the_environment_names_the_service_and_sends_headers(
    traced_channel: grpc.Channel, collector: Collector, digit: bytes
) -> None:
    caller = Caller()
    classify(traced_channel, caller, digit)
    collector.wait_for(has_images(caller, 1))
    assert {resource["service.name"] for resource in collector.resources} == {"museum"}
    assert {metadata.get("x-tenant") for metadata in collector.metadata} == {"insects"}


@dataclass
class StoppedServer:
    """A server that had no collector, after it stopped.

    Attributes:
        code: its exit code.
        logs: all log entries.
        answered, refused: two of its callers.
        image_bytes: size of the first caller's image.
    """

    code: int
    logs: list[dict[str, Any]]
    answered: Caller
    refused: Caller
    image_bytes: int

    def lines(self, caller: Caller) -> list[dict[str, Any]]:
        """Returns the request log's lines of a caller."""
        return [line for line in self.logs if line.get("trace_id") == caller.trace_id]


@pytest.fixture(scope="module")
def without_collector(repository: Path, digit: bytes) -> Iterator[StoppedServer]:
    answered, refused = Caller(), Caller()
    answered.metadata.append(("authorization", "Bearer canary-in-the-token"))
    with socket.socket() as unbound, pytest.MonkeyPatch.context() as patch:
        unbound.bind(("127.0.0.1", 0))  # bound but not listening
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        patch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        flags = ["--otel-endpoint", f"http://127.0.0.1:{unbound.getsockname()[1]}", "--request-log", "1"]
        with ForkedServer("--repository", str(repository), "--models", "lenet", *flags) as process:
            with grpc.insecure_channel(process.target) as channel:
                classify(channel, answered, digit + CANARY, priority=v1.PRIORITY_HIGH)
                with pytest.raises(grpc.RpcError):
                    classify(channel, refused, CANARY * 3, model="canary-in-the-model")
            code = process.stop(patience_seconds=25)  # by default the last flush takes 30 s
        yield StoppedServer(code, process.logs, answered, refused, len(digit + CANARY))


def test_an_unreachable_collector_affects_neither_calls_nor_the_stop(without_collector: StoppedServer) -> None:
    assert without_collector.code == 0
    assert [line["outcome"] for line in without_collector.lines(without_collector.answered)] == ["answered"]
    assert not [line for line in without_collector.logs if "opentelemetry" in str(line.get("logger", line))]
    assert sum(line.get("event") == "traces_lost" for line in without_collector.logs) <= 1


def test_the_request_log_has_every_field_but_not_the_picture(without_collector: StoppedServer) -> None:
    [line] = without_collector.lines(without_collector.answered)
    assert (line["event"], line["level"], line["method"]) == (
        "request",
        "info",
        "linnaeus.v1.ClassifierService/Classify",
    )
    assert (line["model"], line["version"], line["priority"], line["caller"]) == ("lenet", 1, "high", "address")
    assert line["image_bytes"] == without_collector.image_bytes and 20_000 < line["deadline_ms"] < 31_000
    assert (line["batch"], line["batch_size"]) == (1, 1)
    assert 0 < sum(line[f"{stage}_ms"] for stage in STAGES) <= line["total_ms"] + 0.01
    [line] = without_collector.lines(without_collector.refused)
    assert (line["outcome"], line["model"], line["version"]) == ("not_found", "", 0)
    assert line["batch"] is None and "decode_ms" not in line


def test_no_log_line_contains_a_picture_a_token_or_an_unknown_model_name(without_collector: StoppedServer) -> None:
    assert without_collector.lines(without_collector.answered) and "canary" not in json.dumps(without_collector.logs)
