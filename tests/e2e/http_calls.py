"""Calls over HTTP without the client library, to a server of one process or of several."""

import base64
import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from tests.e2e.several_processes import until
from tests.e2e.synthetic_models import SIDE, image_with_work

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.reserved_port import ReservedPort

PATIENCE_SECONDS = 60.0
CLASSIFY = "/v1/models/lenet:classify"


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
    """Starts a server with an HTTP port; for `lenet`, unless the options name other models."""
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
    if body is not None and body.startswith(b"{"):
        headers["content_type"] = "application/json"
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return Answer(answer.status, answer.headers, answer.read())


def raw_image(work: int = 0) -> bytes:
    """Returns the JSON of a request for one of the synthetic models' images, with so many work units."""
    data = base64.b64encode(image_with_work(work).pixels.data).decode()
    return json.dumps({"image": {"pixels": {"data": data, "height": SIDE, "width": SIDE, "channels": 1}}}).encode()


class HttpCallers:
    """Callers that classify a picture by HTTP again and again, each on a connection that it keeps.

    A caller connects anew if an answer asks it to, or a request was lost; it ends when no server listens any more, or
    at `stop`.

    Attributes:
        answers: the answers of each caller, without their bodies: the status, and whether the connection ended.
        lost: the errors of requests that were sent and not answered.
    """

    def __init__(self, port: int, picture: bytes, callers: int = 8) -> None:
        self.answers: list[list[tuple[int, bool]]] = [[] for _ in range(callers)]
        self.lost: list[Exception] = []
        self._port = port
        self._picture = picture
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(callers)
        self._running = [self._pool.submit(self._call, answers) for answers in self.answers]

    @property
    def statuses(self) -> set[int]:
        """The statuses of all answers."""
        return {status for answers in self.answers for status, _ in answers}

    def wait_for_more(self) -> None:
        """Waits until every caller has had further answers."""
        had = [len(answers) for answers in self.answers]
        until(lambda: all(len(answers) > before + 5 for answers, before in zip(self.answers, had, strict=True)))

    def wait_ended(self) -> None:
        """Waits until every caller has ended because no server listens."""
        for each in self._running:
            each.result(PATIENCE_SECONDS)
        self._pool.shutdown()

    def stop(self) -> None:
        """Ends the callers after their next answers."""
        self._stopped.set()
        self.wait_ended()

    def _call(self, answers: list[tuple[int, bool]]) -> None:
        while not self._stopped.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
            try:
                connection.connect()
            except ConnectionRefusedError:
                return
            with contextlib.closing(connection):
                while not self._stopped.is_set() and self._is_kept(connection, answers):
                    pass

    def _is_kept(self, connection: http.client.HTTPConnection, answers: list[tuple[int, bool]]) -> bool:
        """Asks once; returns whether the connection may be used again."""
        try:
            answer = send_on(connection, CLASSIFY, "POST", self._picture)
        except Exception as error:
            self.lost.append(error)
            return False
        ends = answer.headers["connection"] == "close"
        answers.append((answer.status, ends))
        return not ends
