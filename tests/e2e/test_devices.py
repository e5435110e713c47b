"""Several devices pull from one queue, and what was admitted is answered, whoever wants the server to stop."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.e2e.callers import Reply, call, wait_for_metric
from tests.e2e.fragile import asking, request, write_model
from tests.e2e.tracing import Trace

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

DEVICES = ["cpu", "cpu:1"]
CALLS = 80
ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Record:
    """What a server of two devices said of itself, what came of its calls, how it ended, and its trace."""

    described: v1.GetModelResponse
    fragile_codes: list[tuple[grpc.StatusCode, grpc.StatusCode]]
    health: dict[str, int]
    replies: list[Reply]
    exit_code: int
    trace: Trace


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Pictures that a model fails on, then eighty calls at once, and SIGTERM as soon as half of them are in flight."""
    folder = tmp_path_factory.mktemp("devices")
    write_model(folder / "models", "slow", 0.01, config="max_batch_size = 2\n")
    write_model(folder / "models", "fragile", fragile=True, config="max_batch_size = 1\n")
    options = ["--device", ",".join(DEVICES), "--streams", "1", "--trace", str(folder / "trace")]
    with ServerProcess("--repository", str(folder / "models"), *options) as server:
        described, fragile_codes, health, replies = asyncio.run(_ask_and_stop(server))
        exit_code = server.child.wait(60)
    return Record(described, fragile_codes, health, replies, exit_code, Trace(folder / "trace"))


async def _ask_and_stop(
    server: ServerProcess,
) -> tuple[v1.GetModelResponse, list[tuple[grpc.StatusCode, grpc.StatusCode]], dict[str, int], list[Reply]]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        described = await stub.GetModel(v1.GetModelRequest(model="slow"), timeout=30)
        fragile_codes = [await _poison(stub) for _ in range(ROUNDS)]
        health = {name: await _health(channel, f"device/{name}") for name in DEVICES}
        replies: list[Reply] = []
        while True:  # a scrape may come too late to see them in flight
            load = asyncio.gather(*(call(stub, request("slow")) for _ in range(CALLS)))
            seen: Callable[[float], bool] = lambda count, load=load: count >= CALLS // 2 or load.done()  # noqa: E731
            await asyncio.to_thread(wait_for_metric, server, "linnaeus_in_flight", seen)
            if not load.done():
                break
            replies += await load
        server.child.send_signal(signal.SIGTERM)
        return described, fragile_codes, health, replies + await load


async def _poison(stub: ClassifierServiceStub) -> tuple[grpc.StatusCode, grpc.StatusCode]:
    """A picture that the model fails on, and a harmless one beside it."""
    calls = call(stub, request("fragile", asking(255)), 30), call(stub, request("fragile"), 30)
    poisoned, harmless = await asyncio.gather(*calls)
    return poisoned.code, harmless.code


async def _health(channel: grpc.aio.Channel, service: str) -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    return answer.status


def test_a_model_and_the_health_name_every_device(record: Record) -> None:
    assert list(record.described.model.devices) == DEVICES
    assert {row.device for row in record.described.batch_latencies} == set(DEVICES)
    assert record.health == dict.fromkeys(DEVICES, health_pb2.HealthCheckResponse.SERVING)


def test_every_device_runs_batches_of_one_model_from_one_queue(record: Record) -> None:
    record.trace.check()
    runs = [run for run in record.trace.runs if run.model == "slow"]
    took = max(run.ended_at for run in runs) - min(run.began_at for run in runs)
    for device in DEVICES:  # neither waits while there is work, however long a run takes on a busy machine
        assert sum(run.ended_at - run.began_at for run in runs if run.device == device) > took / 3


def test_what_was_admitted_before_sigterm_is_answered(record: Record) -> None:
    assert record.exit_code == 0
    admitted = record.trace.requests("slow")
    assert len(admitted) >= CALLS // 2
    assert {record.trace.ended[number]["outcome"] for number in admitted} == {"answered"}
    codes = Counter(reply.code for reply in record.replies)
    assert codes[grpc.StatusCode.OK] == len(admitted)


def test_pictures_that_a_model_fails_on_take_no_device_out(record: Record) -> None:
    assert set(record.fragile_codes) == {(grpc.StatusCode.INTERNAL, grpc.StatusCode.OK)}
    assert record.health == dict.fromkeys(DEVICES, health_pb2.HealthCheckResponse.SERVING)
