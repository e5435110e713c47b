"""A replica answers as a server does: rights, statuses, streams, health and metrics, without Ray around it."""

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1 import health_pb2

from linnaeus.ray.outcome import read_failure
from linnaeus.ray.replica_server import ReplicaServer, start_replica
from linnaeus.ray.timeout import TIMEOUT_KEY
from linnaeus.server.errors import StartupError
from linnaeus.v1 import classifier_pb2 as v1

TOKEN = "a-token-of-sixteen"


@pytest.fixture(autouse=True)
def _kept_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps what a replica changes in its process: its hooks, logs and garbage."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr("linnaeus.ray.replica_server.configure_logs", lambda *_: None)
    monkeypatch.setattr("linnaeus.ray.replica_server.gc.freeze", lambda: None)


@pytest.fixture
async def replica(repository: Path, tmp_path: Path) -> AsyncIterator[ReplicaServer]:
    (tmp_path / "tokens").write_text(f"reader infer {TOKEN}\n", encoding="utf-8")
    arguments = {"repository": repository, "models": "lenet", "metrics_port": 0, "runtime": "torchscript"}
    secured = {"token_file": tmp_path / "tokens", "insecure": True, "max_message_bytes": 4096}
    started = await start_replica({**arguments, **secured}, {}, cores=1, gpus=0)
    yield started
    await started.close()


def context(*metadata: tuple[str, str], token: str = TOKEN) -> Any:
    """Returns what Ray passes of a call."""
    sent = [("authorization", f"Bearer {token}"), *metadata]
    return SimpleNamespace(invocation_metadata=lambda: sent, peer=lambda: "ipv4:192.0.2.1:5000")


def request(size: int = 28 * 28) -> bytes:
    image = v1.Image(pixels=v1.RawPixels(data=bytes(size), height=28, width=28, channels=1))
    return v1.ClassifyRequest(image=image).SerializeToString()


async def status_of(replica: ReplicaServer, name: str, message: bytes, grpc_context: Any) -> Any:
    return read_failure((await replica.unary(name, message, grpc_context)).SerializeToString())


async def test_a_replica_answers_counts_and_checks_calls(replica: ReplicaServer) -> None:
    answer = await replica.unary("Classify", request(), context())
    assert v1.ClassifyResponse.FromString(answer.SerializeToString()).model == "lenet"
    refused = {
        "stranger": await status_of(replica, "Classify", request(), context(token="another-one-entirely")),
        "no right": await status_of(replica, "LoadModel", b"", context()),
        "in the past": await status_of(replica, "Classify", request(), context((TIMEOUT_KEY, "0.0"))),
        "too large": await status_of(replica, "Classify", request(8192), context()),
        "no message": await status_of(replica, "Classify", b"\xff", context()),
    }
    assert {name: status.code.name for name, status in refused.items()} == {
        "stranger": "UNAUTHENTICATED",
        "no right": "PERMISSION_DENIED",
        "in the past": "DEADLINE_EXCEEDED",
        "too large": "RESOURCE_EXHAUSTED",
        "no message": "INVALID_ARGUMENT",
    }
    assert "larger than max (" in refused["too large"].details
    with urlopen(f"http://127.0.0.1:{replica.metrics_port}/metrics", timeout=60) as page:
        metrics = page.read().decode()
    assert 'grpc_server_handled_total{grpc_code="OK",grpc_method="Classify"' in metrics
    assert 'grpc_server_handled_total{grpc_code="PERMISSION_DENIED",grpc_method="LoadModel"' in metrics


async def test_a_stream_is_answered_until_its_end_and_its_error_comes_last(replica: ReplicaServer) -> None:
    image = v1.Image(pixels=v1.RawPixels(data=bytes(28 * 28), height=28, width=28, channels=1))

    async def two_then_garbage() -> AsyncIterator[bytes]:
        for each in (1, 2):
            yield v1.StreamClassifyRequest(image=image, correlation_id=each).SerializeToString()
        yield b"\xff"

    contents = [
        each.SerializeToString() async for each in replica.stream("StreamClassify", two_then_garbage(), context())
    ]
    answers = [v1.StreamClassifyResponse.FromString(each) for each in contents[:-1]]
    assert sorted(each.correlation_id for each in answers) == [1, 2]
    failure = read_failure(contents[-1])
    assert failure is not None and failure.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_replica_is_ready_while_its_models_have_devices(replica: ReplicaServer) -> None:
    checked = await replica.unary("Check", health_pb2.HealthCheckRequest().SerializeToString(), context(token=""))
    assert health_pb2.HealthCheckResponse.FromString(checked.SerializeToString()).status == 1
    assert not replica.unready_reason
    await replica.health.set_not_serving("no device is left that runs lenet/1")
    assert replica.unready_reason == "no device is left that runs lenet/1"
    await replica.health.set_serving()
    replica.end("decoder")
    assert "decoder keeps failing" in replica.unready_reason


async def test_two_replicas_of_a_machine_have_ports_of_their_own_side_by_side(
    replica: ReplicaServer, repository: Path
) -> None:
    arguments = {"repository": repository, "models": "lenet", "metrics_port": replica.metrics_port}
    second = await start_replica({**arguments, "runtime": "torchscript"}, {}, cores=1, gpus=0)
    assert replica.metrics_port < second.metrics_port < replica.metrics_port + 64
    await second.close()


async def test_a_replica_without_models_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="holds no version folder"):
        await start_replica({"repository": tmp_path, "metrics_port": 0}, {}, cores=1, gpus=0)
