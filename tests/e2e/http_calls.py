"""Calls over HTTP without the client library, to a server of one process or of several."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from tests.e2e.several_processes import children

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.reserved_port import ReservedPort

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer over HTTP, whatever its status."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


def start_http(repository: Path, front_ends: int, *options: str, port: int = 0, metrics_port: int = 0) -> ServerProcess:
    """Starts a server for `lenet` with an HTTP port."""
    small = ("--models", "lenet", "--max-batch-size", "4", "--front-ends", str(front_ends), "--http-port", str(port))
    return ServerProcess("--repository", str(repository), *small, *options, metrics_port=metrics_port)


@contextmanager
def free_port() -> Iterator[int]:
    """Has a port on which only servers listen that are told so."""
    reserved = ReservedPort(Address("127.0.0.1", 0))
    try:
        yield reserved.address.port
    finally:
        reserved.release()


def send(port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    """Sends a request on a connection of its own; headers are written with _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        return send_on(connection, path, method, body, **headers)
    finally:
        connection.close()


def send_on(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> Answer:
    """Sends a request on a connection, which stays open if the server keeps it so."""
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return Answer(answer.status, answer.headers, answer.read())


def front_ends_of(server: ServerProcess) -> list[int]:
    """Returns the ids of the processes that answer by HTTP."""
    return children(server, "front_end") or [server.child.pid]
