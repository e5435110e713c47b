"""A server is stopped under load beside another one: nobody's calls fail, whoever's client they use."""

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from linnaeus.client import AsyncClient
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

CALLERS = 32
CALLS_BEFORE = 10
CALLS_AFTER = 20

Ask = Callable[[bytes], Awaitable[object]]

# What gRPC's own documentation shows: https://grpc.io/docs/guides/retry/
STANDARD_RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


@pytest.fixture
def doomed(repository: Path) -> Iterator[ServerProcess]:
    with ServerProcess("--repository", str(repository), "--models", "lenet") as process:
        yield process


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "4.png").read_bytes()


async def ask_while_it_stops(ask: Ask, digit: bytes, doomed: ServerProcess) -> None:
    """32 callers ask; in the middle of it one server is told to stop. Raises what any of the calls raises."""
    ready = asyncio.Barrier(CALLERS + 1)

    async def caller() -> None:
        for _ in range(CALLS_BEFORE):
            await ask(digit)
        await ready.wait()
        for _ in range(CALLS_AFTER):
            await ask(digit)

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(caller())
        await ready.wait()
        await ask(digit)  # they are at it again
        doomed.child.send_signal(signal.SIGTERM)


async def run_default_client(servers: list[str], digit: bytes, doomed: ServerProcess) -> None:
    async with AsyncClient(servers) as client:
        await ask_while_it_stops(lambda picture: client.classify(picture, model="lenet"), digit, doomed)


async def run_plain(policy: str, servers: list[str], digit: bytes, doomed: ServerProcess) -> None:
    config = {
        "methodConfig": [{"name": [{}], "retryPolicy": STANDARD_RETRIES}],
        "loadBalancingConfig": [{policy: {}}],
    }
    options = [("grpc.service_config", json.dumps(config))]
    # The doomed one first: it is the one that pick_first picks.
    async with grpc.aio.insecure_channel("ipv4:" + ",".join(servers), options) as channel:
        stub = ClassifierServiceStub(channel)

        def ask(picture: bytes) -> Awaitable[object]:
            return stub.Classify(v1.ClassifyRequest(image=v1.Image(encoded=picture), model="lenet"), timeout=30)

        await ask_while_it_stops(ask, digit, doomed)


@pytest.mark.parametrize("client", ["default", "round_robin", "pick_first"])
def test_no_call_of_32_callers_fails_while_one_of_two_servers_is_stopped(
    server: ServerProcess, doomed: ServerProcess, digit: bytes, client: str
) -> None:
    servers = [doomed.target, server.target]
    if client == "default":
        asyncio.run(run_default_client(servers, digit, doomed))
    else:
        asyncio.run(run_plain(client, servers, digit, doomed))
    assert doomed.child.wait(60) == 0


@pytest.mark.parametrize(("second", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_lame_duck_still_answers_says_not_serving_and_ends_at_once_at_a_second_signal(
    repository: Path, digit: bytes, second: signal.Signals, exit_code: int
) -> None:
    arguments = ["--repository", str(repository), "--models", "lenet", "--lame-duck-seconds", "30"]
    with (
        ServerProcess(*arguments, "--health-port", "0") as process,
        grpc.insecure_channel(process.target) as channel,
        grpc.insecure_channel(f"127.0.0.1:{process.wait_for('listening')['health_port']}") as probe,
    ):
        watch = health_pb2_grpc.HealthStub(probe).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        process.child.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        told = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert told.status == health_pb2.HealthCheckResponse.NOT_SERVING
        request = v1.ClassifyRequest(image=v1.Image(encoded=digit), model="lenet")
        for _ in range(3):
            assert ClassifierServiceStub(channel).Classify(request, timeout=30).classes[0].label == "4"
        process.child.send_signal(second)
        assert process.child.wait(30) == exit_code
        watch.cancel()


def test_a_lame_duck_ends_by_itself(repository: Path, digit: bytes) -> None:
    arguments = ["--repository", str(repository), "--models", "lenet", "--lame-duck-seconds", "0.5"]
    with ServerProcess(*arguments) as process:
        started = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - started >= 0.5
