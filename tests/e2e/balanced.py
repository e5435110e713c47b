"""Two real servers behind a balancer with a shipped configuration, callers, and what the servers count."""

import http.client
import itertools
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.e2e.forked_server import ForkedServer
from tests.e2e.http_calls import PATIENCE_SECONDS, Answer, send_on
from tests.e2e.several_processes import digit, metric, until

from benchmarks.balance.balancers import Balance, Balancer, Listen, Upstream, envoy, nginx
from linnaeus.client import Client, LinnaeusError
from linnaeus.server.rpc.child_server import ServerProcess

BALANCERS = [
    pytest.param(envoy, id="envoy", marks=pytest.mark.needs(program="envoy")),
    pytest.param(nginx, id="nginx", marks=pytest.mark.needs(program="nginx")),
]
CALLERS = 8
# Until an answer comes; longer than anything takes here, so that only a lost call reaches it.
TIMEOUT_SECONDS = 60.0


class Servers:
    """Two servers, either of which may be lost and started again at its ports.

    Args:
        arguments: of each server.
    """

    def __init__(self, opened: ExitStack, *arguments: Sequence[str]) -> None:
        self._opened = opened
        self._arguments = arguments
        started = [ForkedServer(*each, "--http-port", "0") for each in arguments]
        self.running: list[ServerProcess] = [opened.enter_context(each) for each in started]
        self.ports = [Upstream(each.port, each.http_port) for each in self.running]

    def start_again(self, place: int) -> ServerProcess:
        """Starts a server that has ended, and waits until it serves."""
        ports = self.ports[place]
        options = (*self._arguments[place], "--http-port", str(ports.http_port))
        self.running[place] = self._opened.enter_context(ForkedServer(*options, port=ports.grpc_port))
        return self.running[place]


@contextmanager
def servers_behind(
    balance: Balance, folder: Path, first: Sequence[str], second: Sequence[str] | None = None
) -> Iterator[tuple[Balancer, Servers]]:
    """Starts two servers and a balancer before them.

    Args:
        balance: which balancer.
        folder: for its files, with a short path.
        first: arguments of the first server.
        second: of the second one; None for those of the first.
    """
    with ExitStack() as opened:
        servers = Servers(opened, first, second or first)
        yield opened.enter_context(balance(folder, servers.ports, Listen.sockets(folder))), servers


def classify_calls(server: ServerProcess, code: str) -> float:
    """Returns how many Classify calls a server has ended with a status code."""
    return metric(server, "grpc_server_handled_total", f'grpc_code="{code}",grpc_method="Classify"')


class ClientCallers:
    """Callers of a client each, who ask again and again; the last one asks in a stream. They may be stopped once.

    Attributes:
        outcomes: answers, and errors by what they say.
    """

    def __init__(self, target: str, callers: int = CALLERS) -> None:
        self.outcomes: Counter[str] = Counter()
        self._target = target
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(callers)
        self._running = [self._pool.submit(self._call) for _ in range(callers - 1)]
        self._running.append(self._pool.submit(self._stream))

    def wait_for_more(self, calls: int = 20 * CALLERS) -> None:
        """Waits until so many further calls have ended."""
        ended = self.outcomes.total()
        until(lambda: self.outcomes.total() >= ended + calls or any(each.done() for each in self._running))

    def stop(self) -> Counter[str]:
        """Ends the calls and returns their outcomes; raises what is no error of a call."""
        self._stopped.set()
        for each in self._running:
            each.result(TIMEOUT_SECONDS)
        self._pool.shutdown()
        return self.outcomes

    def _call(self) -> None:
        with Client(self._target, timeout_seconds=TIMEOUT_SECONDS) as client:
            while not self._stopped.is_set():
                self._count(_error_of(client))

    def _stream(self) -> None:
        images = itertools.takewhile(lambda _: not self._stopped.is_set(), itertools.repeat(digit()))
        with Client(self._target, timeout_seconds=TIMEOUT_SECONDS) as client:
            for outcome in client.classify_stream(images, model="lenet", concurrency=2):
                self._count(outcome.error)

    def _count(self, error: LinnaeusError | None) -> None:
        with self._lock:
            self.outcomes["answered" if error is None else f"{type(error).__name__}: {error}"] += 1


def _error_of(client: Client) -> LinnaeusError | None:
    try:
        client.classify(digit(), model="lenet")
    except LinnaeusError as error:
        return error
    return None


class UnixConnection(http.client.HTTPConnection):
    """HTTP/1.1 on a socket file."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def send(path_of_socket: str, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    """Sends a request to a balancer's socket on a connection of its own."""
    connection = UnixConnection(path_of_socket)
    try:
        return send_on(connection, path, method, body, **headers)
    finally:
        connection.close()


def envoy_counter(balancer: Balancer, name: str) -> int:
    """Returns one of Envoy's own counters or gauges, by its whole name."""
    lines = send(balancer.listen.admin, f"/stats?filter=^{name}$").body.decode().splitlines()
    return int(lines[0].partition(": ")[2])
