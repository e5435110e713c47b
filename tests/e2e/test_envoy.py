"""What Envoy alone does, as docker/envoy/envoy.yaml has it: front ends, and what one server refuses."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from tests.e2e.balanced import Servers, classify_calls, envoy_counter, send, servers_behind
from tests.e2e.forked_server import ForkedServer
from tests.e2e.http_calls import raw_image
from tests.e2e.several_processes import children, connections, digit, get, metric, start, until
from tests.e2e.synthetic_models import request, write_model

from benchmarks.balance.balancers import ENVOY, ENVOY_FILE, Balancer, Listen, Upstream, envoy
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.needs(program="envoy")
CALLERS = 32
REFUSALS = 5
LENET = v1.ClassifyRequest(
    image=v1.Image(pixels=v1.RawPixels(data=digit().tobytes(), height=28, width=28, channels=1)), model="lenet"
)


def test_envoy_accepts_the_file_as_it_is() -> None:
    command = [str(ENVOY), "--mode", "validate", "--config-path", str(ENVOY_FILE), "--log-level", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    with start(repository, "--http-port", "0") as started:
        yield started


@pytest.fixture
def balancer(server: ServerProcess, repository: Path, socket_folder: Path) -> Iterator[Balancer]:
    """Envoy before the server with two front ends, and another server."""
    with ForkedServer("--repository", str(repository), "--models", "lenet", "--http-port", "0") as other:
        servers = [Upstream(each.port, each.http_port) for each in (server, other)]
        with envoy(socket_folder, servers, Listen.sockets(socket_folder)) as running:
            yield running


@pytest.fixture
def stub(balancer: Balancer) -> Iterator[ClassifierServiceStub]:
    with grpc.insecure_channel(balancer.target) as channel:
        yield ClassifierServiceStub(channel)


class Callers:
    """Many callers of one channel, which retry nothing; they may be stopped once."""

    def __init__(self, stub: ClassifierServiceStub, asked: v1.ClassifyRequest = LENET) -> None:
        self.answers = 0
        self._stub = stub
        self._asked = asked
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(CALLERS)
        self._running = [self._pool.submit(self._call_on) for _ in range(CALLERS)]

    @property
    def has_failure(self) -> bool:
        """Whether a call has failed."""
        return any(each.done() for each in self._running)

    def wait_for_more(self) -> None:
        """Waits until further calls were answered, or one has failed."""
        answers = self.answers
        until(lambda: self.answers > answers + 10 * CALLERS or self.has_failure)

    def stop(self) -> None:
        """Ends the calls; raises what one of them raised."""
        self._stopped.set()
        for each in self._running:
            each.result(60)
        self._pool.shutdown()

    def _call_on(self) -> None:
        while not self._stopped.is_set():
            self._stub.Classify(self._asked, timeout=60)
            self.answers += 1


def test_the_death_of_a_front_end_costs_no_call(server: ServerProcess, stub: ClassifierServiceStub) -> None:
    callers = Callers(stub)
    callers.wait_for_more()
    taken = connections(server)
    victim = max(taken, key=taken.__getitem__)
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in (now := children(server, "front_end")) and len(now) == 2)
    until(lambda: get(server, "/readyz")[0] == 200)
    callers.wait_for_more()
    callers.stop()


@contextmanager
def unequal_servers(folder: Path, *options: str) -> Iterator[tuple[Balancer, Servers, ClassifierServiceStub]]:
    """Servers of the models in the folders `first` and `second`; the second one has further options."""
    arguments = [("--repository", str(folder / name)) for name in ("first", "second")]
    with (
        servers_behind(envoy, folder, arguments[0], (*arguments[1], *options)) as (balancer, servers),
        grpc.insecure_channel(balancer.target, [("grpc.enable_retries", 0)]) as channel,
    ):
        yield balancer, servers, ClassifierServiceStub(channel)


def test_what_a_full_server_refuses_goes_to_the_other_one(socket_folder: Path) -> None:
    for name in ("first", "second"):
        write_model(socket_folder / name, "quick")
    with unequal_servers(socket_folder, "--rate-limit", "0.001", "--rate-burst", "1") as (balancer, servers, stub):
        full = servers.running[1]
        callers = Callers(stub, request("quick"))
        until(lambda: callers.has_failure or classify_calls(full, "RESOURCE_EXHAUSTED") > 2 * CALLERS)
        callers.stop()
        while metric(full, "linnaeus_http_request_seconds_count", 'status="429"') < REFUSALS:
            assert send(balancer.listen.http, "/v1/models/quick:classify", "POST", raw_image()).status == 200


def test_no_answer_has_a_server_left_out(balancer: Balancer) -> None:
    """Envoy takes UNIMPLEMENTED for HTTP's 501, as it takes DEADLINE_EXCEEDED for 504; a caller can provoke both."""
    with grpc.insecure_channel(balancer.target) as channel:
        unknown = channel.unary_unary("/linnaeus.v1.ClassifierService/Unknown")
        assert not any(is_answered(lambda: unknown(b"", timeout=60)) for _ in range(20 * REFUSALS))
    assert envoy_counter(balancer, "cluster.grpc.outlier_detection.ejections_enforced_total") == 0


def test_calls_on_a_server_that_stands_still_go_to_the_other_one(repository: Path, socket_folder: Path) -> None:
    lenet = ("--repository", str(repository), "--models", "lenet")
    with (
        servers_behind(envoy, socket_folder, lenet) as (balancer, servers),
        grpc.insecure_channel(balancer.target) as channel,
    ):
        still = servers.running[1]
        callers = Callers(ClassifierServiceStub(channel))
        until(lambda: metric(still, "linnaeus_in_flight") > 0)
        os.kill(still.child.pid, signal.SIGSTOP)
        try:
            callers.wait_for_more()  # all of them may wait for that server
            callers.stop()
        finally:
            os.kill(still.child.pid, signal.SIGCONT)


def test_what_one_server_cannot_answer_in_time_goes_to_the_other_one(socket_folder: Path) -> None:
    write_model(socket_folder / "first", "model")
    write_model(socket_folder / "second", "model", 0.03, config="max_batch_size = 1\n")

    def refusals() -> float:
        return classify_calls(servers.running[1], "DEADLINE_EXCEEDED")

    def was_answered_after_a_refusal() -> bool:
        """On a busy machine the quick server may be late, too."""
        before = refusals()
        return is_answered(lambda: stub.Classify(request("model"), timeout=0.025)) and refusals() > before

    with unequal_servers(socket_folder) as (_, servers, stub):
        until(was_answered_after_a_refusal)


def is_answered(call: Callable[[], object]) -> bool:
    """Makes a call; returns False if it fails."""
    try:
        call()
    except grpc.RpcError:
        return False
    return True
