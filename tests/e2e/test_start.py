"""From its start on a server tells the truth to probes, and takes callers only once it can answer them."""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.e2e.http_calls import free_port, send
from tests.e2e.synthetic_models import request, write_model

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# Starts its command with the standard streams closed whose numbers come first, separated by commas.
CLOSING = """
import os, sys
for number in sys.argv[1].split(","):
    os.close(int(number))
os.execv(sys.executable, [sys.executable, "-m", "linnaeus.server", *sys.argv[2:]])
"""


@contextmanager
def loading_server(
    root: Path, *options: str, metrics_port: int = 0
) -> Iterator[tuple[ServerProcess, Callable[[], object]]]:
    """Starts a server whose only model is loaded when the yielded function is called."""
    write_model(root, "late", config="max_batch_size = 1\n")
    labels = root / "late" / "1" / "labels.txt"
    content = labels.read_text(encoding="utf-8")
    labels.unlink()
    os.mkfifo(labels)  # whoever reads it waits until it is written
    server = ServerProcess("--repository", str(root), "--health-port", "0", *options, metrics_port=metrics_port)
    try:
        yield server, lambda: labels.write_text(content, encoding="utf-8")
    finally:
        server.kill()


def health(port: int) -> int:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=60).status)


def get(server: ServerProcess, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.metrics_port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_callers_can_connect_once_the_models_are_ready_and_probes_at_once(tmp_path: Path) -> None:
    with loading_server(tmp_path) as (server, load):
        health_port = server.wait_for("loading")["health_port"]
        assert health(health_port) == NOT_SERVING
        assert get(server, "/readyz") == (503, "the models are loading\n")
        assert get(server, "/livez") == (200, "ok\n")
        assert not any(entry.get("event") == "listening" for entry in server.logs)
        load()
        server.wait_for("serving")
        assert health(health_port) == SERVING and get(server, "/readyz") == (200, "ok\n")
        with grpc.insecure_channel(server.target) as channel:
            assert ClassifierServiceStub(channel).Classify(request("late"), timeout=60).model == "late"
        server.child.terminate()
        assert server.child.wait(60) == 0


@pytest.mark.parametrize("front_ends", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_probes_on_the_http_port_are_answered_while_the_models_load(tmp_path: Path, front_ends: int) -> None:
    with free_port() as port:
        options = ("--front-ends", str(front_ends), "--http-port", str(port))
        with loading_server(tmp_path, *options, metrics_port=port) as (server, load):
            loading = server.wait_for("loading")
            assert loading["metrics_port"] == loading["http_port"] == port
            assert get(server, "/readyz") == (503, "the models are loading\n")
            assert get(server, "/livez") == (200, "ok\n")
            assert "linnaeus_http_request_seconds" in get(server, "/metrics")[1]
            refused = send(port, "/v1/models/late:classify", "POST", b"no picture")
            assert (refused.status, refused.json["code"]) == (503, "UNAVAILABLE") and refused.headers["retry-after"]
            load()
            server.wait_for("serving")
            assert get(server, "/readyz") == (200, "ok\n")
            assert get(server, "/v1/models/late")[0] == 200


@pytest.mark.parametrize(
    "options", [["--listen-early"], pytest.param(["--model-control", "explicit"], marks=pytest.mark.slow)]
)
def test_a_server_that_listens_early_or_waits_for_no_model_takes_callers_at_once(
    tmp_path: Path, options: list[str]
) -> None:
    with loading_server(tmp_path, *options) as (server, _):
        server.wait_for("listening")
        with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as refused:
            ClassifierServiceStub(channel).Classify(request("late"), timeout=60)
        is_early = "--listen-early" in options
        assert refused.value.code() is (grpc.StatusCode.UNAVAILABLE if is_early else grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize("closed", ["0,1,2", *(pytest.param(each, marks=pytest.mark.slow) for each in "01")])
def test_a_server_whose_standard_streams_are_closed_serves_and_stops(tmp_path: Path, closed: str) -> None:
    write_model(tmp_path / "models", "small", config="max_batch_size = 1\n")
    trace = tmp_path / "trace"
    command = [sys.executable, "-c", CLOSING, closed, "--repository", str(tmp_path / "models"), "--trace", str(trace)]
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as also_free:
        port, metrics_port = free.getsockname()[1], also_free.getsockname()[1]
    process = subprocess.Popen([*command, "--port", str(port), "--metrics-port", str(metrics_port)])
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.initial_reconnect_backoff_ms", 100)]) as channel:
            answer = ClassifierServiceStub(channel).Classify(request("small"), timeout=100, wait_for_ready=True)
        assert answer.model == "small"
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert all(line.startswith('{"event": ') for line in trace.read_text().splitlines())
