"""A server of several processes for tests: its processes, its HTTP port, and callers that ask again and again."""

import concurrent.futures
import contextlib
import http.client
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from linnaeus.client import Client
from linnaeus.server.rpc.child_server import ServerProcess

CALLERS = 8
# Front ends for tests of HTTP, whose code is the same in one process.
FRONT_ENDS = [pytest.param(0, id="one process", marks=pytest.mark.release), pytest.param(2, id="front ends")]
_ESTABLISHED = "01"
_NAMES = {"engine": "linnaeus-engine", "front_end": "linnaeus-front"}


def start(repository: Path, *options: str) -> ServerProcess:
    """Starts a server of two front ends for `lenet`."""
    small = ("--models", "lenet", "--max-batch-size", "4", "--front-ends", "2")
    return ServerProcess("--repository", str(repository), *small, *options)


def children(server: ServerProcess, role: str) -> list[int]:
    """Returns the ids of the server's processes of a role, "engine" or "front_end", in the order of their start."""
    found, waiting = [], [server.child.pid]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if Path(f"/proc/{pid}/comm").read_text().strip() == _NAMES[role] and is_alive(pid):
                found.append(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return sorted(found)


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that has ended is there until its parent has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def connections(server: ServerProcess, *pids: int) -> dict[int, int]:
    """Returns how many callers' connections each front end has, by its process id, as the kernel knows it.

    Args:
        server: the server.
        pids: the processes, if they are not the front ends.
    """
    inodes = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == _ESTABLISHED and int(fields[1].rpartition(":")[2], 16) == server.port:
                inodes.add(f"socket:[{fields[9]}]")
    return {pid: len(inodes & descriptors(pid)) for pid in pids or children(server, "front_end")}


def descriptors(pid: int) -> set[str]:
    """Returns what the open files of a process are."""
    found = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(descriptor))
    return found


def get(server: ServerProcess, path: str, timeout: float = 60) -> tuple[int, str]:
    """Returns the status and the body of a page of the HTTP port."""
    connection = http.client.HTTPConnection("127.0.0.1", server.metrics_port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metric(server: ServerProcess, name: str, labels: str = "") -> float:
    """Returns the sum of a metric's samples whose labels contain a text."""
    lines = get(server, "/metrics")[1].splitlines()
    samples = [re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line) for line in lines]
    return sum(float(each[2]) for each in samples if each and labels in (each[1] or ""))


def calls_begun(server: ServerProcess) -> float:
    """Returns the number of Classify calls that have begun."""
    return metric(server, "grpc_server_started_total", 'grpc_method="Classify"')


def until(condition: Callable[[], bool]) -> None:
    """Waits until the condition holds; the test's time limit ends it if it never does."""
    while not condition():
        threading.Event().wait(0.02)


def digit(seed: int = 0) -> "numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.uint8]]":
    """Returns the pixels of an image that `lenet` takes as they are."""
    return numpy.random.default_rng(seed).integers(0, 256, (28, 28), numpy.uint8)


class Callers:
    """Callers on a channel each, who ask again and again; they may be stopped once."""

    def __init__(self, server: ServerProcess) -> None:
        self.answered = 0
        self.failures: list[BaseException] = []
        self._stopped = threading.Event()
        self._server = server
        self._pool = concurrent.futures.ThreadPoolExecutor(CALLERS)
        self._running = [self._pool.submit(self._call) for _ in range(CALLERS)]

    def wait_for_more(self) -> None:
        """Waits until further calls were answered."""
        answered = self.answered
        until(lambda: self.answered > answered + 10 * CALLERS)

    def stop(self) -> None:
        self._stopped.set()
        for each in self._running:
            each.result(60)
        self._pool.shutdown()

    def _call(self) -> None:
        with Client(self._server.target) as client:
            while not self._stopped.is_set():
                try:
                    client.classify(digit())
                    self.answered += 1
                except Exception as error:
                    self.failures.append(error)
