"""Envoy and nginx, as docker/ has them, share calls out and lose none when one of two servers is in trouble."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from tests.e2e.balanced import BALANCERS, ClientCallers, Servers, classify_calls, servers_behind
from tests.e2e.several_processes import connections, digit, metric, until

from benchmarks.balance.balancers import Balance
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.parametrize("balance", BALANCERS)
# A batch waits for so many images, or for a minute: more than ever come, so that calls stay until they are cancelled.
HOLD = ("--max-batch-size", "64", "--max-queue-delay-seconds", "60")
HELD_CALLS = 60
# More than the callers of the client have in flight, so that the other server always has room; fewer than flood it.
QUEUE_SIZE = 16
FLOODING_CALLERS = 48

LENET = v1.ClassifyRequest(
    image=v1.Image(pixels=v1.RawPixels(data=digit().tobytes(), height=28, width=28, channels=1)), model="lenet"
)


def arguments(repository: Path, *options: str) -> tuple[str, ...]:
    return ("--repository", str(repository), "--models", "lenet", *options)


def test_calls_in_flight_are_shared_out_within_a_tenth_over_many_connections(
    balance: Balance, repository: Path, socket_folder: Path
) -> None:
    """Each call goes to the server that has fewer. How fast the machine is plays no part, as none of them ends.

    A connection has four calls at most, so that each front end of a server has some of them.
    """

    def shares(servers: Servers) -> list[float]:
        return [metric(each, "linnaeus_in_flight") for each in servers.running]

    with (
        servers_behind(balance, socket_folder, arguments(repository, *HOLD)) as (balancer, servers),
        grpc.insecure_channel(balancer.target) as channel,
    ):
        stub, held = ClassifierServiceStub(channel), []
        for number in range(1, HELD_CALLS + 1):
            held.append(stub.Classify.future(LENET))
            until(lambda number=number: sum(shares(servers)) == number)  # type: ignore[misc]
        counted = shares(servers)
        opened = [connections(each, each.child.pid)[each.child.pid] for each in servers.running]
        for each in held:
            each.cancel()
        until(lambda: not sum(shares(servers)))
    assert all(abs(share - HELD_CALLS / 2) <= HELD_CALLS / 20 for share in counted), counted
    assert all(number >= share / 4 for number, share in zip(opened, counted, strict=True)), (opened, counted)


def test_no_call_of_the_client_fails_while_servers_are_lost_and_come_back(
    balance: Balance, repository: Path, socket_folder: Path
) -> None:
    with servers_behind(balance, socket_folder, arguments(repository)) as (balancer, servers):
        callers = ClientCallers(balancer.target)
        for place, loss, exit_code in ((0, signal.SIGTERM, 0), (1, signal.SIGKILL, -signal.SIGKILL)):
            lost = servers.running[place]
            until(lambda lost=lost: classify_calls(lost, "OK") > 0)  # type: ignore[misc]
            lost.child.send_signal(loss)
            assert lost.child.wait(60) == exit_code
            callers.wait_for_more()
            returned = servers.start_again(place)
            until(lambda returned=returned: classify_calls(returned, "OK") > 0)  # type: ignore[misc]
        assert callers.stop().keys() == {"answered"}


def test_no_call_of_the_client_fails_while_a_server_is_flooded(
    balance: Balance, repository: Path, socket_folder: Path
) -> None:
    with (
        servers_behind(balance, socket_folder, arguments(repository, "--max-queue-size", str(QUEUE_SIZE))) as (
            balancer,
            servers,
        ),
    ):
        callers = ClientCallers(balancer.target)
        with flood(servers.running[1]) as refused:
            until(lambda: refused() > FLOODING_CALLERS)
            before = [classify_calls(each, "OK") for each in servers.running]
            callers.wait_for_more()
            assert classify_calls(servers.running[0], "OK") > before[0]
        assert callers.stop().keys() == {"answered"}


@contextmanager
def flood(server: ServerProcess) -> Iterator[Callable[[], float]]:
    """Has more callers than its queue holds call a server directly; yields how many calls it has refused."""
    over = threading.Event()

    def call_on() -> None:
        while not over.is_set():
            try:
                stub.Classify(LENET, timeout=60)
            except grpc.RpcError:
                over.wait(0.01)

    with grpc.insecure_channel(server.target) as channel, ThreadPoolExecutor(FLOODING_CALLERS) as callers:
        stub = ClassifierServiceStub(channel)
        flooding = [callers.submit(call_on) for _ in range(FLOODING_CALLERS)]
        try:
            yield lambda: classify_calls(server, "RESOURCE_EXHAUSTED")
        finally:
            over.set()
            for each in flooding:
                each.result(60)
