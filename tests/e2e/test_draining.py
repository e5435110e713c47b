"""Stopping one of two servers under load fails no calls, whichever gRPC client makes them."""

import asyncio
import json
import queue
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.e2e.callers import wait_for_metric
from tests.e2e.forked_server import ForkedServer

from linnaeus.client import AsyncClient
from linnaeus.kserve import grpc_service_pb2 as kserve_pb2
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

CALLERS = 32
CALLS_BEFORE = 10
CALLS_AFTER = 20

CLASSIFY = "/linnaeus.v1.ClassifierService/Classify"
PLAIN_CALLERS = 16
PLAIN_OPTIONS = [
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_reconnect_backoff_ms", 200),  # so that the test need not wait long until a server is found again
]

Classify = Callable[[bytes], Awaitable[object]]

# The retry policy of gRPC's documentation: https://grpc.io/docs/guides/retry/
STANDARD_RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


@pytest.fixture
def stopped_server(repository: Path) -> Iterator[ServerProcess]:
    with ForkedServer("--repository", str(repository), "--models", "lenet") as process:
        yield process


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "4.png").read_bytes()


async def call_while_it_stops(classify: Classify, digit: bytes, stopped_server: ServerProcess) -> None:
    """Calls from 32 callers while one server is stopped. Raises what any of the calls raises."""
    ready = asyncio.Barrier(CALLERS + 1)

    async def caller() -> None:
        for _ in range(CALLS_BEFORE):
            await classify(digit)
        await ready.wait()
        for _ in range(CALLS_AFTER):
            await classify(digit)

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(caller())
        await ready.wait()
        await classify(digit)  # the callers are calling again
        stopped_server.child.send_signal(signal.SIGTERM)


async def run_default_client(servers: list[str], digit: bytes, stopped_server: ServerProcess) -> None:
    async with AsyncClient(servers) as client:
        await call_while_it_stops(lambda picture: client.classify(picture, model="lenet"), digit, stopped_server)


async def run_plain(policy: str, servers: list[str], digit: bytes, stopped_server: ServerProcess) -> None:
    config = {
        "methodConfig": [{"name": [{}], "retryPolicy": STANDARD_RETRIES}],
        "loadBalancingConfig": [{policy: {}}],
    }
    options = [("grpc.service_config", json.dumps(config))]
    # The server to be stopped comes first, because pick_first uses the first one.
    async with grpc.aio.insecure_channel("ipv4:" + ",".join(servers), options) as channel:
        stub = ClassifierServiceStub(channel)

        def classify(picture: bytes) -> Awaitable[object]:
            return stub.Classify(v1.ClassifyRequest(image=v1.Image(encoded=picture), model="lenet"), timeout=30)

        await call_while_it_stops(classify, digit, stopped_server)


@pytest.mark.parametrize("client", ["default", "round_robin", pytest.param("pick_first", marks=pytest.mark.slow)])
def test_no_call_fails_while_one_of_two_servers_is_stopped(
    server: ServerProcess, stopped_server: ServerProcess, digit: bytes, client: str
) -> None:
    servers = [stopped_server.target, server.target]
    if client == "default":
        asyncio.run(run_default_client(servers, digit, stopped_server))
    else:
        asyncio.run(run_plain(client, servers, digit, stopped_server))
    assert stopped_server.child.wait(60) == 0


@pytest.mark.slow
def test_no_call_of_a_plain_client_fails_while_each_of_two_servers_is_restarted(repository: Path, digit: bytes) -> None:
    """The client has no retry policy and asks for no health: it only sends a call after each answer."""
    ports = [free_port(), free_port()]
    servers = [start(repository, port) for port in ports]
    request = v1.ClassifyRequest(image=v1.Image(encoded=digit), model="lenet")
    stopped = threading.Event()
    answered: list[queue.SimpleQueue[bool]] = [queue.SimpleQueue() for _ in range(PLAIN_CALLERS)]

    def call(caller: int) -> None:
        try:
            call_on(caller)
        finally:
            answered[caller].put(False)

    def call_on(caller: int) -> None:
        with grpc.insecure_channel("ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports), PLAIN_OPTIONS) as channel:
            stub = ClassifierServiceStub(channel)
            while not stopped.is_set():
                stub.Classify(request, timeout=60)
                answered[caller].put(True)

    try:
        for server in servers:
            server.wait_for("serving")
        with ThreadPoolExecutor(PLAIN_CALLERS) as callers:
            calls = [callers.submit(call, each) for each in range(PLAIN_CALLERS)]
            try:
                for place, port in enumerate(ports):
                    wait_for_answers(answered)
                    assert servers[place].stop() == 0
                    servers[place] = start(repository, port)
                    servers[place].wait_for("serving")
                    wait_for_calls(servers[place])
            finally:
                stopped.set()
            for each in calls:
                each.result(60)
    finally:
        for server in servers:
            server.kill()


def start(repository: Path, port: int) -> ServerProcess:
    options = ["--models", "lenet", "--max-batch-size", "8"]
    return ForkedServer("--repository", str(repository), *options, port=port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def wait_for_answers(answered: "list[queue.SimpleQueue[bool]]") -> None:
    """Waits until each caller has got further answers; fails as soon as it waits for one that has ended."""
    for caller in answered:
        for _ in range(caller.qsize() + 20):
            assert caller.get(timeout=60), "a call failed"


def wait_for_calls(server: ServerProcess) -> None:
    """Waits until every caller has found a server that was started again."""
    wait_for_metric(server, "grpc_server_handled_total", lambda calls: calls >= 20 * PLAIN_CALLERS)


def test_a_request_that_is_still_being_sent_when_the_server_stops_is_answered(repository: Path, digit: bytes) -> None:
    request = v1.ClassifyRequest(image=v1.Image(encoded=digit), model="lenet")
    may_send = threading.Event()

    def slowly() -> Iterator[v1.ClassifyRequest]:
        may_send.wait(60)
        yield request

    arguments = ["--repository", str(repository), "--models", "lenet"]
    with ForkedServer(*arguments) as process, grpc.insecure_channel(process.target) as channel:
        begin = channel.stream_unary(CLASSIFY, v1.ClassifyRequest.SerializeToString, v1.ClassifyResponse.FromString)
        slow = begin.future(slowly(), timeout=60)
        wait_for_metric(process, "grpc_server_started_total", lambda calls: calls >= 1)
        process.child.send_signal(signal.SIGTERM)
        wait_until_closed(process.port)
        may_send.set()
        assert slow.result(60).classes[0].label == "4"
        assert process.child.wait(60) == 0


def wait_until_closed(port: int) -> None:
    """Waits until the port is closed; the test's timeout bounds the wait."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 10).close()
        except ConnectionError:  # refused, or reset if the port was closed meanwhile
            return


@pytest.mark.slow
def test_callers_that_neither_send_nor_read_do_not_delay_the_stop_for_long(repository: Path, digit: bytes) -> None:
    ended = threading.Event()
    image = v1.StreamClassifyRequest(image=v1.Image(encoded=digit), model="lenet", top_k=10)

    def without_end(message: object) -> Iterator[object]:
        yield message
        ended.wait(110)

    arguments = ["--repository", str(repository), "--models", "lenet", "--drain-seconds", "1000"]
    with ForkedServer(*arguments) as process, grpc.insecure_channel(process.target) as channel:
        stub = ClassifierServiceStub(channel)
        idle = stub.StreamClassify(without_end(image))
        next(idle)
        unread = stub.StreamClassify(iter([image] * 5000))  # more answers than gRPC buffers
        begin = channel.stream_unary(CLASSIFY, v1.ClassifyRequest.SerializeToString, v1.ClassifyResponse.FromString)
        unsent = begin.future(each for each in without_end(None) if each is not None)
        wait_for_metric(process, "linnaeus_request_seconds_count", lambda answered: answered >= 100)
        try:
            process.child.send_signal(signal.SIGTERM)
            assert process.child.wait(60) == 0
        finally:
            ended.set()
            for call in (idle, unread, unsent):
                call.cancel()


@pytest.mark.parametrize(("second", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_lame_duck_answers_reports_not_serving_and_exits_at_a_second_signal(
    repository: Path, digit: bytes, second: signal.Signals, exit_code: int
) -> None:
    arguments = ["--repository", str(repository), "--models", "lenet", "--lame-duck-seconds", "30"]
    with (
        ForkedServer(*arguments, "--health-port", "0") as process,
        grpc.insecure_channel(process.target) as channel,
        grpc.insecure_channel(f"127.0.0.1:{process.wait_for('listening')['health_port']}") as probe,
    ):
        watch = health_pb2_grpc.HealthStub(probe).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        process.child.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        kserve = kserve_grpc.GRPCInferenceServiceStub(channel)
        assert not kserve.ServerReady(kserve_pb2.ServerReadyRequest(), timeout=30).ready
        assert not kserve.ModelReady(kserve_pb2.ModelReadyRequest(name="lenet"), timeout=30).ready
        assert kserve.ServerLive(kserve_pb2.ServerLiveRequest(), timeout=30).live
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        request = v1.ClassifyRequest(image=v1.Image(encoded=digit), model="lenet")
        for _ in range(3):
            assert ClassifierServiceStub(channel).Classify(request, timeout=30).classes[0].label == "4"
        process.child.send_signal(second)
        assert process.child.wait(30) == exit_code
        watch.cancel()


def test_a_lame_duck_exits_after_its_delay(repository: Path, digit: bytes) -> None:
    arguments = ["--repository", str(repository), "--models", "lenet", "--lame-duck-seconds", "0.5"]
    with ForkedServer(*arguments) as process:
        started = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - started >= 0.5


@pytest.mark.slow
def test_a_server_that_stops_beside_connections_that_send_nothing_answers_and_ends_in_order(
    repository: Path, digit: bytes
) -> None:
    """With some releases of grpcio it crashes; see docs/decisions/0019."""
    request = v1.ClassifyRequest(image=v1.Image(encoded=digit), model="lenet")
    with ForkedServer("--repository", str(repository), "--models", "lenet") as process, ExitStack() as connections:
        for _ in range(64):
            connections.enter_context(socket.create_connection(("127.0.0.1", process.port), 60))
        with grpc.insecure_channel(process.target) as channel:
            call = ClassifierServiceStub(channel).Classify.future(request, timeout=60)
            wait_for_metric(process, "grpc_server_started_total", lambda calls: calls >= 1)
            process.child.send_signal(signal.SIGTERM)
            assert call.result(60).classes[0].label == "4"
        assert process.child.wait(60) == 0
