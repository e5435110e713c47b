"""With a maximum connection age, callers' connections are dealt out anew to the front ends, and no call fails."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from tests.e2e.several_processes import children, connections, digit, start, until

from linnaeus.client import Client
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.slow
ROUND_ROBIN = [("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')]


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    with start(repository, "--max-connection-age-seconds", "0.5") as started:
        yield started


def with_the_client(target: str, held: ExitStack) -> Callable[[], object]:
    client = held.enter_context(Client(target, timeout_seconds=60.0))
    return lambda: client.classify(digit())


def with_plain_grpc(target: str, held: ExitStack) -> Callable[[], object]:
    """Calls without retries: one that fails is seen."""
    channel = held.enter_context(grpc.insecure_channel(target, [*ROUND_ROBIN, ("grpc.enable_retries", 0)]))
    stub = ClassifierServiceStub(channel)
    pixels = v1.RawPixels(data=digit().tobytes(), height=28, width=28, channels=1)
    request = v1.ClassifyRequest(model="lenet", image=v1.Image(pixels=pixels))
    return lambda: stub.Classify(request, timeout=60)


@pytest.mark.parametrize("caller", [with_the_client, with_plain_grpc])
def test_connections_move_between_front_ends_and_no_call_fails(
    server: ServerProcess, caller: Callable[[str, ExitStack], Callable[[], object]]
) -> None:
    first, second = children(server, "front_end")
    is_over = threading.Event()

    def call_on() -> None:
        while not is_over.is_set():
            call()

    def are_seen(*wanted: int) -> None:
        for pid in wanted:
            until(lambda pid=pid: running.done() or connections(server, pid)[pid] > 0)  # type: ignore[misc]

    with ExitStack() as held, ThreadPoolExecutor(1) as threads:
        call = caller(server.target, held)
        running = threads.submit(call_on)
        try:
            are_seen(first, second, first, second)
        finally:
            is_over.set()
        running.result(60)
