"""The client and the load tester over a server of several processes: who has how many connections."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.several_processes import children, connections, digit, get, start, until

from linnaeus.client import AsyncClient, Client
from linnaeus.server.rpc.child_server import ServerProcess

CALLERS = 16
TOLD = 8
TRIES = 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(repository: Path) -> Iterator[ServerProcess]:
    with start(repository) as process:
        yield process


@pytest.fixture
def server(shared: ServerProcess) -> ServerProcess:
    """The shared server once every process is back and no caller is left."""
    until(lambda: get(shared, "/readyz")[0] == 200 and len(children(shared, "front_end")) == 2)
    until(lambda: total(shared) == 0)
    return shared


def total(server: ServerProcess) -> int:
    return sum(connections(server).values())


class Threads:
    """Threads that share a client and call again and again."""

    def __init__(self, client: Client) -> None:
        self.failures: list[BaseException] = []
        self.answered = 0
        self._client = client
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for each in self._threads:
            each.start()

    def wait_for_more(self) -> None:
        """Waits until further calls were answered, or one has failed."""
        answered = self.answered
        until(lambda: self.answered > answered + 10 * CALLERS or bool(self.failures))

    def stop(self) -> None:
        self._stopped.set()
        for each in self._threads:
            each.join()

    def _call(self) -> None:
        while not self._stopped.is_set():
            try:
                self._client.classify(digit())
                self.answered += 1
            except Exception as error:
                self.failures.append(error)


def test_one_caller_opens_one_connection(server: ServerProcess) -> None:
    with Client(server.target) as client:
        for _ in range(20):
            client.classify(digit())
        assert total(server) == 1


def test_a_busy_client_opens_as_many_connections_as_the_server_tells(server: ServerProcess) -> None:
    with Client(server.target) as client:
        threads = Threads(client)
        until(lambda: total(server) == TOLD)
        threads.wait_for_more()
        assert total(server) == TOLD
        threads.stop()
        assert not threads.failures
    until(lambda: total(server) == 0)


async def test_a_busy_asyncio_client_does_so_too(server: ServerProcess) -> None:
    async with AsyncClient(server.target) as client:
        while total(server) < TOLD:
            await asyncio.gather(*(client.classify(digit()) for _ in range(CALLERS)))
        await asyncio.gather(*(client.classify(digit()) for _ in range(CALLERS)))
        assert total(server) == TOLD


def test_a_busy_client_meets_every_front_end(server: ServerProcess) -> None:
    """The kernel leaves one of the two out in 1 of 128 cases, in all of the tries never."""
    for _ in range(TRIES):
        with Client(server.target) as client:
            threads = Threads(client)
            until(lambda: total(server) == TOLD)
            met = connections(server)
            threads.stop()
        if all(met.values()):
            return
        until(lambda: total(server) == 0)
    pytest.fail(f"one front end had all connections of {TRIES} clients")


def test_as_many_connections_are_opened_as_the_caller_says(server: ServerProcess) -> None:
    with Client(server.target, connections=5) as client:
        threads = Threads(client)
        until(lambda: total(server) == 5)
        threads.wait_for_more()
        assert total(server) == 5
        threads.stop()
        assert not threads.failures


def test_the_connections_of_a_front_end_that_dies_are_replaced_and_no_call_fails(server: ServerProcess) -> None:
    with Client(server.target) as client:
        threads = Threads(client)
        until(lambda: total(server) == TOLD)
        victim = max(connections(server), key=connections(server).__getitem__)
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in connections(server) and total(server) == TOLD)
        threads.wait_for_more()
        threads.stop()
        assert not threads.failures


def test_a_server_of_one_process_tells_one_connection(repository: Path) -> None:
    with start(repository, "--front-ends", "0") as server, Client(server.target) as client:
        threads = Threads(client)
        threads.wait_for_more()
        threads.stop()
        assert connections(server, server.child.pid) == {server.child.pid: 1}


def test_the_load_tester_opens_as_many_connections_as_the_server_tells(
    server: ServerProcess, pictures: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", "from linnaeus.client.cli import main; main()", "--server", server.target]
    load = ["load", str(pictures / "digits"), "--model", "lenet", "--metrics", "", "--json", str(tmp_path / "run.json")]
    test = subprocess.Popen([*command, *load, "--duration", "600s"])
    until(lambda: total(server) >= TOLD or test.poll() is not None)
    assert total(server) == TOLD
    test.send_signal(signal.SIGINT)
    test.wait(60)
    assert json.loads((tmp_path / "run.json").read_text())["options"]["connections"] == TOLD
