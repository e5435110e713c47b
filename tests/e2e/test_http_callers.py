"""Callers by HTTP have the deadlines, limits, traces and metrics that those by gRPC have, beside each other."""

import http.client
import re
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2
from tests.e2e.callers import Reply
from tests.e2e.event_log import EventLog
from tests.e2e.http_calls import CLASSIFY, raw_image, send, send_on, start_http
from tests.e2e.several_processes import FRONT_ENDS, metric, until
from tests.e2e.synthetic_models import request, write_model
from tests.otlp_collector import run_collector

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.slow
BOTH = pytest.mark.parametrize("front_ends", FRONT_ENDS)
SLOW, BUSY = "/v1/models/slow:classify", "/v1/models/busy:classify"
ONE, OTHER = "the-token-of-the-first-caller", "the-token-of-another-caller"
MEBIBYTE = 1 << 20
QUICK_START = ("--runtime", "torchscript")  # without the comparison of runtimes


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "4.png").read_bytes()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 0.15 s an image, and one that takes as long as its images say; both run on workers."""
    root = tmp_path_factory.mktemp("models")
    write_model(root, "slow", 0.15, config="max_batch_size = 1\n")
    write_model(root, "busy", 0.06, work_unit_seconds=0.02, config="max_batch_size = 1\n")
    return root


@pytest.fixture(scope="module", params=FRONT_ENDS)
def server(request: pytest.FixtureRequest, models: Path) -> Iterator[ServerProcess]:
    with start_http(models, request.param, "--models", "slow,busy", "--streams", "1", *QUICK_START) as process:
        yield process


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[str, ...]:
    """Options for two callers."""
    file = tmp_path / "tokens"
    file.write_text(f"one infer {ONE}\nother infer {OTHER}\n")
    return ("--token-file", str(file), "--insecure")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def by_grpc(server: ServerProcess, message: v1.ClassifyRequest, token: str = "", timeout: float = 60) -> Reply:
    """Makes one call on a connection of its own."""
    with grpc.insecure_channel(server.target, [("grpc.enable_retries", 0)]) as channel:
        metadata = [("authorization", f"Bearer {token}")] if token else []
        call = ClassifierServiceStub(channel).Classify.future(message, timeout=timeout, metadata=metadata)
        error = call.exception(60)
        return Reply(call.code(), None if error else call.result(), error)  # type: ignore[arg-type]


def test_a_deadline_that_cannot_be_met_is_refused_as_by_grpc(server: ServerProcess) -> None:
    send(server.http_port, SLOW, "POST", raw_image(), x_timeout_seconds="0.05")  # may be admitted, as a probe
    refused = send(server.http_port, SLOW, "POST", raw_image(), x_timeout_seconds="0.05")
    by_other = by_grpc(server, request("slow"), timeout=0.05).refusal
    assert by_other is not None
    assert (refused.status, refused.json["code"]) == (504, "DEADLINE_EXCEEDED")
    (detail,) = refused.json["details"]
    del detail["@type"]
    told = json_format.ParseDict(detail, error_details_pb2.ErrorInfo())
    assert (told.reason, told.domain) == (by_other.reason, by_other.domain)
    assert set(told.metadata) == set(by_other.metadata)
    assert send(server.http_port, SLOW, "POST", raw_image(), x_timeout_seconds="30").status == 200


def test_the_default_deadline_is_that_of_callers_by_http_too(models: Path) -> None:
    with start_http(models, 0, "--models", "slow", "--default-timeout-seconds", "0.05", *QUICK_START) as server:
        assert send(server.http_port, SLOW, "POST", raw_image()).status == 504
        assert send(server.http_port, SLOW, "POST", raw_image(), x_timeout_seconds="30").status == 200


def test_a_caller_that_leaves_has_its_request_cancelled(server: ServerProcess) -> None:
    cancelled = metric(server, "linnaeus_cancelled_total")
    leaving = http.client.HTTPConnection("127.0.0.1", server.http_port)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(send, server.http_port, BUSY, "POST", raw_image(60))
        until(lambda: metric(server, "linnaeus_in_flight") == 1)
        leaving.request("POST", BUSY, raw_image(200), {"content-type": "application/json"})
        until(lambda: metric(server, "linnaeus_in_flight") == 2)
        leaving.close()
        until(lambda: metric(server, "linnaeus_cancelled_total") == cancelled + 1)
        assert running.result(60).status == 200
    until(lambda: metric(server, "linnaeus_in_flight") == 0)


@BOTH
def test_a_priority_claimed_by_http_is_that_of_the_image_and_capped_as_by_grpc(
    repository: Path, front_ends: int, tmp_path: Path, digit: bytes
) -> None:
    trace = tmp_path / "trace"
    with start_http(repository, front_ends, "--max-priority", "normal", "--trace", str(trace)) as server:
        for claims in ({"x_priority": "low"}, {}, {"x_priority": "high"}):
            assert send(server.http_port, CLASSIFY, "POST", digit, **claims).status == 200
        assert send(server.http_port, f"{CLASSIFY}?priority=low", "POST", digit).status == 200
    admitted = EventLog(trace).admitted.values()
    assert [event["priority"] for event in admitted] == ["low", "normal", "normal", "low"]


@BOTH
def test_a_rate_is_counted_over_both_protocols(
    repository: Path, front_ends: int, tokens: tuple[str, ...], digit: bytes
) -> None:
    limited = ("--rate-limit", "0.001", "--rate-burst", "6", *tokens)
    message = v1.ClassifyRequest(model="lenet", image=v1.Image(encoded=digit))
    with start_http(repository, front_ends, *limited) as server:
        for _ in range(3):
            assert send(server.http_port, CLASSIFY, "POST", digit, **bearer(ONE)).status == 200
            assert by_grpc(server, message, ONE).code is grpc.StatusCode.OK
        refused = send(server.http_port, CLASSIFY, "POST", digit, **bearer(ONE))
        assert (refused.status, refused.json["code"]) == (429, "RESOURCE_EXHAUSTED")
        assert int(refused.headers["retry-after"]) > 1 and "0.001 times a second" in refused.json["detail"]
        assert by_grpc(server, message, ONE).code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert send(server.http_port, CLASSIFY, "POST", digit, **bearer(OTHER)).status == 200


def test_a_caller_whose_bodies_do_not_come_takes_its_share_of_the_bytes_alone(
    repository: Path, tokens: tuple[str, ...], digit: bytes
) -> None:
    """Two messages may be read at once, one of each caller."""
    share = str(32 * MEBIBYTE)
    limits = ("--max-bytes-in-flight", str(64 * MEBIBYTE), "--max-bytes-in-flight-per-caller", share)
    head = (
        f"POST {CLASSIFY} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ONE}\r\ncontent-length: 9\r\n\r\nhalf"
    )
    message = v1.ClassifyRequest(model="lenet", image=v1.Image(encoded=digit))
    with start_http(repository, 0, *limits, *tokens) as server, ExitStack() as stack:
        for _ in range(8):
            unsent = stack.enter_context(socket.create_connection(("127.0.0.1", server.http_port)))
            unsent.sendall(head.encode())
        for _ in range(5):
            assert by_grpc(server, message, OTHER).code is grpc.StatusCode.OK
            assert send(server.http_port, CLASSIFY, "POST", digit, **bearer(OTHER)).status == 200
        own = by_grpc(server, message, ONE).code
        assert own in (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED), "it waits, but not for ever"


def test_connections_beyond_max_connections_are_closed_by_http_too(repository: Path, digit: bytes) -> None:
    with start_http(repository, 0, "--max-connections", "4") as server, ExitStack() as stack:
        kept = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
        assert send_on(kept, CLASSIFY, "POST", digit).status == 200
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", server.http_port))) for _ in range(3)]
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=60) as surplus:
            assert surplus.recv(1) == b""
        assert send_on(kept, CLASSIFY, "POST", digit).status == 200
        assert by_grpc(server, v1.ClassifyRequest(model="lenet", image=v1.Image(encoded=digit))).answer is not None
        idle[0].close()
        until(lambda: is_taken(server.http_port))
        kept.close()


def is_taken(port: int) -> bool:
    try:
        return send(port, "/livez").status == 200
    except (http.client.HTTPException, ConnectionError):
        return False


@BOTH
def test_a_request_is_traced_and_logged_as_one_by_grpc(repository: Path, front_ends: int, digit: bytes) -> None:
    trace_id, parent = secrets.token_hex(16), "00f067aa0ba902b7"
    with run_collector() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        options = ("--otel-endpoint", collector.endpoint, "--request-log", "1")
        with start_http(repository, front_ends, *options) as server:
            headers = {"traceparent": f"00-{trace_id}-{parent}-01", "tracestate": "congo=t61rcWkgMzE"}
            assert send(server.http_port, CLASSIFY, "POST", digit, x_timeout_seconds="30", **headers).status == 200
            spans = collector.wait_for(lambda spans: any(each.trace_id.hex() == trace_id for each in spans))
            (image,) = [each for each in spans if each.trace_id.hex() == trace_id and each.name == "classify"]
            assert image.parent_span_id.hex() == parent and image.trace_state == "congo=t61rcWkgMzE"
        values = {pair.key: pair.value for pair in image.attributes}
        assert values["rpc.method"].string_value == "linnaeus.v1.ClassifierService/Classify"
        assert values["linnaeus.outcome"].string_value == "answered"
    (line,) = [line for line in server.logs if line.get("trace_id") == trace_id]
    assert (line["event"], line["outcome"], line["caller"]) == ("request", "answered", "address")
    assert 20_000 < line["deadline_ms"] < 31_000


@BOTH
def test_the_metrics_have_routes_methods_and_statuses_that_exist_and_no_others(
    repository: Path, front_ends: int, digit: bytes
) -> None:
    with start_http(repository, front_ends) as server:
        for path in (
            "/v1/models/lenet:classify",
            "/v1/models/nowhere:classify",
            "/v1/models/lenet/versions/1:classify",
        ):
            send(server.http_port, path, "POST", digit)
        for number in range(20):
            send(server.http_port, f"/nowhere/{number}")
            send(server.http_port, f"/v1/models/model-{number}")
            send(server.http_port, "/v1/models", f"METHOD{number}")
            send(server.http_port, CLASSIFY, "DELETE")
        text = send(server.http_port, "/console/metrics").body.decode()
        samples = re.findall(r"^linnaeus_http_request_seconds_count\{(.*)\} (\S+)$", text, re.MULTILINE)
    found = {tuple(re.findall(r'(?:method|route|status)="(.*?)"', labels)): float(count) for labels, count in samples}
    assert found == {
        ("POST", "/v1/models/{model}:classify", "200"): 1,
        ("POST", "/v1/models/{model}:classify", "404"): 1,
        ("POST", "/v1/models/{model}/versions/{version}:classify", "200"): 1,
        ("GET", "/v1/models/{model}", "404"): 20,
    }
