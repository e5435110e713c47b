"""Calls over HTTP: bodies within their bounds and times, callers that leave, and a server that stops waiting."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.server.http.raw_http import answers, exchange, read_answer, request, serving
from tests.server.http.served_routes import Requests

from linnaeus.server.http.application import application
from linnaeus.server.http.bodies.request_body import BodyTimes
from linnaeus.server.http.calls import Call, HttpCalls, Operation
from linnaeus.server.http.server import HttpServer
from linnaeus.server.security.byte_budget import ByteBudget

LARGEST = 100_000
SHORT = 0.1
CLOSE = b"Connection: close"
CHUNKED = b"Transfer-Encoding: chunked"


class Served:
    """An endpoint that tells the length of its body, or is held until a test lets go."""

    def __init__(self) -> None:
        self.begun, self.held, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.requests = Requests()
        self.server: HttpServer

    @asynccontextmanager
    async def run(self, budget: ByteBudget | None = None, times: BodyTimes | None = None) -> AsyncIterator[HttpServer]:
        budget = budget or ByteBudget(LARGEST, 4 * LARGEST, 4 * LARGEST)
        calls = HttpCalls(self.requests, budget, body_times=times or BodyTimes())
        operation = Operation("linnaeus.v1.ClassifierService", "Classify")
        routes = [
            Route("/length", calls.endpoint(operation, self._length), methods=["POST"]),
            Route("/held", calls.endpoint(operation, self._held), methods=["POST"]),
        ]
        async with serving(application(routes)) as server:
            yield server

    async def _length(self, call: Call) -> Response:
        return PlainTextResponse(str(len(call.body)))

    async def _held(self, call: Call) -> Response:
        self.begun.set()
        try:
            await self.held.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return PlainTextResponse("held")


def post(path: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return request(path, *headers, method=b"POST", body=body)


def status_and_detail(received: bytes) -> tuple[int, str]:
    ((status, body),) = answers(received)
    return status, json.loads(body)["detail"]


async def test_a_body_is_read_whole_however_it_comes() -> None:
    async with Served().run() as server:
        length = b"Content-Length: %d" % LARGEST
        assert answers(await exchange(server, post(b"/length", length, CLOSE, body=bytes(LARGEST)))) == [
            (200, b"100000")
        ]
        chunks = (b"2710\r\n" + bytes(10_000) + b"\r\n") * 10 + b"0\r\n\r\n"
        assert answers(await exchange(server, post(b"/length", CHUNKED, CLOSE), chunks)) == [(200, b"100000")]
        coded = gzip.compress(bytes(LARGEST))
        headers = (b"Content-Encoding: gzip", b"Content-Length: %d" % len(coded), CLOSE)
        assert answers(await exchange(server, post(b"/length", *headers, body=coded))) == [(200, b"100000")]


async def test_a_body_beyond_the_largest_is_refused_by_its_length_before_it_comes_and_by_its_chunks() -> None:
    async with Served().run() as server:
        declared = post(b"/length", b"Content-Length: %d" % (LARGEST + 1))
        in_chunks = post(b"/length", CHUNKED, body=b"186a1\r\n" + bytes(LARGEST + 1))
        for sent in (declared, in_chunks):
            status, detail = status_and_detail(await exchange(server, sent))
            assert status == 413 and detail.startswith("the body has more than 100000 bytes; send less at once")


async def test_a_body_that_pauses_or_takes_too_long_is_refused() -> None:
    pause = BodyTimes(pause_seconds=SHORT)
    async with Served().run(times=pause) as server:
        received = await exchange(server, post(b"/length", b"Content-Length: 10", body=b"abc"))
    assert status_and_detail(received) == (408, "the body took too long: 0.1 s without a byte; send it at once")
    whole = BodyTimes(whole_seconds=SHORT, bytes_per_second=1 << 30)
    async with Served().run(times=whole) as server:
        received = await exchange(server, post(b"/length", b"Content-Length: 10", body=b"abc"))
    assert status_and_detail(received) == (408, "the body took too long: more than 0.1 s; send it at once")


async def test_a_body_that_comes_at_the_least_rate_may_take_longer() -> None:
    times = BodyTimes(whole_seconds=SHORT, bytes_per_second=10)
    async with Served().run(times=times) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post(b"/length", b"Content-Length: 101", body=bytes(100)))
        await asyncio.sleep(3 * SHORT)
        writer.write(b"a")
        assert await read_answer(reader) == (200, b"101")
        writer.close()


async def test_bodies_that_do_not_come_give_way_to_others() -> None:
    """They are ended with RESOURCE_EXHAUSTED once another call needs the room that they hold."""
    async with Served().run(ByteBudget(LARGEST, LARGEST, LARGEST, grace_seconds=0)) as server:
        slow = asyncio.create_task(exchange(server, post(b"/length", b"Content-Length: 10", CLOSE, body=b"abc")))
        while not server.open_connections:
            await asyncio.sleep(0)
        await asyncio.sleep(SHORT)
        quick = await exchange(server, post(b"/length", b"Content-Length: 3", CLOSE, body=b"abc"))
        assert answers(quick) == [(200, b"3")]
        status, detail = status_and_detail(await slow)
    assert status == 429 and detail.startswith("no message came within")


async def test_a_caller_that_leaves_is_worked_for_no_longer() -> None:
    served = Served()
    async with served.run() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post(b"/held", b"Content-Length: 0"))
        await served.begun.wait()
        writer.close()
        await served.cancelled.wait()
        while not served.requests.handled:
            await asyncio.sleep(0)
    assert served.requests.handled == [("/held", "POST", 499)]


async def test_a_caller_that_leaves_within_its_body_is_counted_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    served = Served()
    async with served.run() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post(b"/length", b"Content-Length: 10", body=b"abc"))
        await writer.drain()
        await asyncio.sleep(SHORT)
        writer.close()
        while not served.requests.handled:
            await asyncio.sleep(0)
    assert served.requests.handled == [("/length", "POST", 499)] and not caplog.records
