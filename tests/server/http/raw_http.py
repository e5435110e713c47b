"""An HTTP server in this process, and callers that send bytes as they are."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.server.rpc.idle_engine import IdleEngine

from linnaeus.server.http.application import application
from linnaeus.server.http.connections.connection_limits import ConnectionLimits
from linnaeus.server.http.server import HttpServer
from linnaeus.server.security.listen_address import Address

HOST = b"Host: localhost\r\n"
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"content-length: (\d+)")


def request(path: bytes, *headers: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    """Returns a request as bytes; `headers` are whole lines without their end."""
    lines = b"".join(line + b"\r\n" for line in headers)
    return method + b" " + path + b" HTTP/1.1\r\n" + HOST + lines + b"\r\n" + body


class Echo:
    """An application that answers its paths, and lets a test hold one of the answers."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.begun = asyncio.Event()
        self.disconnected = asyncio.Event()

    def application(self) -> ASGIApp:
        return application(self.routes())

    def routes(self) -> list[Route]:
        return [
            Route("/slow", self._slow),
            Route("/large", self._large),
            Route("/refuse", self._refuse, methods=["POST"]),
            Route("/echo", self._echo, methods=["POST"]),
            Route("/{name}", self._name),
        ]

    async def _slow(self, request: Request) -> Response:
        self.begun.set()
        await self.held.wait()
        return PlainTextResponse("slow")

    async def _large(self, request: Request) -> Response:
        return Response(bytes(16 << 20))

    async def _refuse(self, request: Request) -> Response:
        return PlainTextResponse("refused", 413, {"connection": "close"})

    async def _echo(self, request: Request) -> Response:
        self.begun.set()
        parts, more = list[bytes](), True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                self.disconnected.set()
                return PlainTextResponse("nobody reads this")
            parts.append(message["body"])
            more = message["more_body"]
        return Response(b"".join(parts) + b" " + request.headers.get("x-late", "no trailer").encode())

    async def _name(self, request: Request) -> Response:
        return PlainTextResponse(request.path_params["name"])


@asynccontextmanager
async def serving(
    app: ASGIApp, limits: ConnectionLimits | None = None, max_connections: int = 100
) -> AsyncIterator[HttpServer]:
    """Serves an application on a free port of the loopback."""
    server = HttpServer(app, Address("127.0.0.1", 0), max_connections, limits=limits)
    await server.listen()
    try:
        yield server
    finally:
        await server.stop(IdleEngine(), 0)


async def exchange(server: HttpServer, *pieces: bytes, then: Callable[[], Awaitable[None]] | None = None) -> bytes:
    """Sends pieces on a connection of its own, and returns all that is answered until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if then is not None:
            await then()
        return await reader.read()
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Returns status and body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    found = _LENGTH.search(head)
    return int(head[9:12]), await reader.readexactly(int(found[1]) if found else 0)


def answers(data: bytes) -> Sequence[tuple[int, bytes]]:
    """Returns statuses and bodies of the answers in what a server sent."""
    found, place = list[tuple[int, bytes]](), 0
    while head := _ANSWER.match(data, place):
        length = _LENGTH.search(head[0])
        end = head.end() + (int(length[1]) if length else 0)
        found.append((int(head[1]), data[head.end() : end]))
        place = end
    assert place == len(data), data[place:]
    return found
