"""Routes on a real HTTP server in the test's event loop, and requests to it that nothing tidies up."""

import asyncio
import http.client
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.routing import BaseRoute
from tests.server.rpc.idle_engine import IdleEngine

from linnaeus.server.http.application import application
from linnaeus.server.http.calls import HttpCalls
from linnaeus.server.http.server import HttpServer
from linnaeus.server.security.byte_budget import ByteBudget
from linnaeus.server.security.listen_address import Address

_MEBIBYTE = 1 << 20


class Answer(NamedTuple):
    """A response; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Requests:
    """What was observed: the route, method and status of each request."""

    def __init__(self) -> None:
        self.handled: list[tuple[str, str, int]] = []

    def http_handled(self, route: str, method: str, status: int, seconds: float) -> None:
        self.handled.append((route, method, status))


@asynccontextmanager
async def served(make_routes: Callable[[HttpCalls], Sequence[BaseRoute]]) -> AsyncIterator[int]:
    """Serves routes on a free port of the loopback, and yields the port."""
    calls = HttpCalls(Requests(), ByteBudget(_MEBIBYTE, 4 * _MEBIBYTE, 2 * _MEBIBYTE))
    server = HttpServer(application(make_routes(calls)), Address("127.0.0.1", 0), 100)
    await server.listen()
    try:
        yield server.port
    finally:
        await server.stop(IdleEngine(), 1.0)


async def ask(port: int, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    """Sends a request, with its path as it is, and returns the answer."""

    def send() -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    return await asyncio.to_thread(send)
