"""Several devices pull from one queue, and admitted requests are answered even if the server is stopped."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.e2e.callers import Reply, call, wait_for_metric
from tests.e2e.event_log import EventLog
from tests.e2e.forked_server import ForkedServer
from tests.e2e.synthetic_models import image_with_work, request, write_model

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

DEVICES = ["cpu", "cpu:1"]
CALLS = 80
ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Record:
    """Metadata, health and replies of a server with two devices, its exit code and its event log."""

    described: v1.GetModelResponse
    fragile_codes: list[tuple[grpc.StatusCode, grpc.StatusCode]]
    health: dict[str, int]
    replies: list[Reply]
    exit_code: int
    event_log: EventLog


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Images that a model fails on, then eighty calls at once, and SIGTERM once half of them are in flight."""
    folder = tmp_path_factory.mktemp("devices")
    write_model(folder / "models", "slow", 0.01, config="max_batch_size = 2\n")
    write_model(folder / "models", "fragile", fragile=True, config="max_batch_size = 1\n")
    options = ["--device", ",".join(DEVICES), "--streams", "1", "--trace", str(folder / "trace")]
    with ForkedServer("--repository", str(folder / "models"), *options) as server:
        described, fragile_codes, health, replies = asyncio.run(_call_and_stop(server))
        exit_code = server.child.wait(60)
    return Record(described, fragile_codes, health, replies, exit_code, EventLog(folder / "trace"))


async def _call_and_stop(
    server: ServerProcess,
) -> tuple[v1.GetModelResponse, list[tuple[grpc.StatusCode, grpc.StatusCode]], dict[str, int], list[Reply]]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        described = await stub.GetModel(v1.GetModelRequest(model="slow"), timeout=30)
        fragile_codes = [await _call_with_failing_image(stub) for _ in range(ROUNDS)]
        health = {name: await _health(channel, f"device/{name}") for name in DEVICES}
        replies: list[Reply] = []
        while True:  # repeats if the scrape came too late to see them in flight
            load = asyncio.gather(*(call(stub, request("slow")) for _ in range(CALLS)))
            seen: Callable[[float], bool] = lambda count, load=load: count >= CALLS // 2 or load.done()  # noqa: E731
            await asyncio.to_thread(wait_for_metric, server, "linnaeus_in_flight", seen)
            if not load.done():
                break
            replies += await load
        server.child.send_signal(signal.SIGTERM)
        return described, fragile_codes, health, replies + await load


async def _call_with_failing_image(stub: ClassifierServiceStub) -> tuple[grpc.StatusCode, grpc.StatusCode]:
    """Sends an image that the model fails on together with a valid one; returns both status codes."""
    calls = call(stub, request("fragile", image_with_work(255)), 30), call(stub, request("fragile"), 30)
    poisoned, harmless = await asyncio.gather(*calls)
    return poisoned.code, harmless.code


async def _health(channel: grpc.aio.Channel, service: str) -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    return answer.status


def test_get_model_and_health_list_every_device(record: Record) -> None:
    assert list(record.described.model.devices) == DEVICES
    assert {row.device for row in record.described.batch_latencies} == set(DEVICES)
    assert record.health == dict.fromkeys(DEVICES, health_pb2.HealthCheckResponse.SERVING)


def test_all_devices_run_batches_of_one_model_from_one_queue(record: Record) -> None:
    record.event_log.check()
    runs = [run for run in record.event_log.runs if run.model == "slow"]
    duration = max(run.ended_at for run in runs) - min(run.started_at for run in runs)
    for device in DEVICES:  # neither device idles while there is work, however long a run takes on a busy machine
        assert sum(run.ended_at - run.started_at for run in runs if run.device == device) > duration / 3


def test_requests_admitted_before_sigterm_are_answered(record: Record) -> None:
    assert record.exit_code == 0
    admitted = record.event_log.requests("slow")
    assert len(admitted) >= CALLS // 2
    assert {record.event_log.ended[number]["outcome"] for number in admitted} == {"answered"}
    codes = Counter(reply.code for reply in record.replies)
    assert codes[grpc.StatusCode.OK] == len(admitted)


def test_images_that_a_model_fails_on_do_not_remove_a_device(record: Record) -> None:
    assert set(record.fragile_codes) == {(grpc.StatusCode.INTERNAL, grpc.StatusCode.OK)}
    assert record.health == dict.fromkeys(DEVICES, health_pb2.HealthCheckResponse.SERVING)
