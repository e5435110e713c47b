"""A connection over HTTP keeps the order of its answers, its bounds, and ends so that its caller can read why."""

import asyncio
import contextlib
import json
import logging
import socket
import threading

import pytest
from tests.server.http.raw_http import HOST, Echo, answers, exchange, read_answer, request, serving

from linnaeus.server.http.connections.connection_limits import ConnectionLimits

CLOSE = b"Connection: close"
SHORT = 0.1
INVALID = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"BREW /a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path with NUL": b"GET /a\x00b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path that is not ASCII": b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a header with NUL": request(b"/a", b"X: a\x00b"),
    "a folded header": request(b"/a", b"X: a\r\n  b"),
    "a space before the colon": request(b"/a", b"X : a"),
    "bare line feeds": b"GET /a HTTP/1.1\nHost: a\n\n",
    "a bare carriage return": request(b"/a", b"X: a\rY: b"),
    "length and chunks": request(b"/echo", b"Content-Length: 3", b"Transfer-Encoding: chunked", method=b"POST"),
    "chunks and length": request(b"/echo", b"Transfer-Encoding: chunked", b"Content-Length: 3", method=b"POST"),
    "two lengths": request(b"/echo", b"Content-Length: 3", b"Content-Length: 4", method=b"POST", body=b"abcd"),
    "a signed length": request(b"/echo", b"Content-Length: +3", method=b"POST", body=b"abc"),
    "an endless length": request(b"/echo", b"Content-Length: " + b"9" * 30, method=b"POST", body=b"abc"),
    "chunks that are not last": request(b"/echo", b"Transfer-Encoding: chunked, identity", method=b"POST"),
    "a hexadecimal prefix": request(b"/echo", b"Transfer-Encoding: chunked", method=b"POST", body=b"0x3\r\nabc\r\n"),
    "a chunk that is too long": request(b"/echo", b"Transfer-Encoding: chunked", method=b"POST", body=b"3\r\nabcd\r\n"),
}


def limits(**chosen: float) -> ConnectionLimits:
    return ConnectionLimits(**chosen)  # type: ignore[arg-type]  # numbers of their kinds


async def test_pipelined_answers_come_in_order_also_if_the_first_is_slow() -> None:
    echo = Echo()

    async def release() -> None:
        await echo.begun.wait()
        echo.held.set()

    async with serving(echo.application()) as server:
        sent = request(b"/slow") + request(b"/second") + request(b"/third", CLOSE)
        received = await exchange(server, sent, then=release)
    assert answers(received) == [(200, b"slow"), (200, b"second"), (200, b"third")]


async def test_more_pipelined_requests_than_may_wait_end_the_connection_behind_those() -> None:
    async with serving(Echo().application(), limits(pipelined=4)) as server:
        received = await exchange(server, request(b"/a") * 1000)
    assert answers(received) == [(200, b"a")] * 5
    assert received.count(b"connection: close") == 1


@pytest.mark.parametrize("sent", INVALID.values(), ids=INVALID.keys())
async def test_what_is_no_valid_request_gets_one_problem_and_the_end(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(Echo().application()) as server:
        received = await exchange(server, sent)
        assert (await exchange(server, request(b"/a", CLOSE))).startswith(b"HTTP/1.1 200")
    ((status, body),) = answers(received)
    problem = json.loads(body)
    assert status == problem["status"] == 400 and problem["code"] == "INVALID_ARGUMENT"
    assert problem["detail"].startswith("this is no valid HTTP/1.1 request (") and "callback" not in problem["detail"]
    assert not caplog.records, "strangers must not fill the log"


async def test_a_transfer_encoding_that_the_server_does_not_undo_is_refused() -> None:
    async with serving(Echo().application()) as server:
        sent = request(b"/echo", b"Transfer-Encoding: gzip, chunked", method=b"POST", body=b"0\r\n\r\n")
        ((status, body),) = answers(await exchange(server, sent))
    assert status == 501 and "'gzip, chunked'" in json.loads(body)["detail"]


@pytest.mark.parametrize("wrong", [b"BOGUS\r\n\r\n", request(b"/a", b"X: " + bytes(70_000).replace(b"\0", b"x"))])
async def test_a_refusal_waits_for_the_answers_before_it(wrong: bytes) -> None:
    echo = Echo()

    async def release() -> None:
        await echo.begun.wait()
        echo.held.set()

    async with serving(echo.application()) as server:
        received = answers(await exchange(server, request(b"/slow") + request(b"/b"), wrong, then=release))
    assert received[:2] == [(200, b"slow"), (200, b"b")]
    assert [status for status, _ in received[2:]] in ([400], [431])


async def test_a_body_that_turns_out_wrong_ends_its_request() -> None:
    echo = Echo()
    async with serving(echo.application()) as server:
        head = request(b"/echo", b"Transfer-Encoding: chunked", method=b"POST", body=b"3\r\nabc\r\n")
        received = await exchange(server, head, b"ZZ\r\n")
        await echo.disconnected.wait()
    assert [status for status, _ in answers(received)] == [400]


async def test_a_body_that_turns_out_wrong_while_its_request_waits_harms_no_earlier_answer() -> None:
    echo = Echo()

    async def release() -> None:
        await echo.begun.wait()
        echo.held.set()

    async with serving(echo.application()) as server:
        wrong = request(b"/echo", b"Transfer-Encoding: chunked", method=b"POST", body=b"3\r\nabc\r\nZZ\r\n")
        received = answers(await exchange(server, request(b"/slow") + wrong, then=release))
    assert received[0] == (200, b"slow") and [status for status, _ in received[1:]] == [400]


@pytest.mark.parametrize(
    "sent",
    [
        request(b"/a", *[b"X: a"] * 200),
        request(b"/a", b"X: " + b"a" * 40_000),
        request(b"/a", b"x" * 40_000 + b": a"),
        request(b"/" + b"a" * 40_000),
        request(b"/a?" + b"a" * 40_000),
        b"\r\n" * 20_000,
        request(
            b"/echo", b"Transfer-Encoding: chunked", method=b"POST", body=b"0\r\nX: " + b"a" * 40_000 + b"\r\n\r\n"
        ),
        request(b"/echo", b"Transfer-Encoding: chunked", method=b"POST", body=b"0\r\n" + b"X: aaaaaaa\r\n" * 5_000),
    ],
    ids=["many", "a long value", "a long name", "a long path", "a long query", "empty lines", "a trailer", "trailers"],
)
@pytest.mark.parametrize("size", [1 << 30, 1000], ids=["at once", "in pieces"])
async def test_heads_beyond_their_bounds_are_refused(sent: bytes, size: int) -> None:
    async with serving(Echo().application()) as server:
        pieces = [sent[place : place + size] for place in range(0, len(sent), size)]
        ((status, body),) = answers(await exchange(server, *pieces))
    assert status == 431 and "32 KiB" in json.loads(body)["detail"]


async def test_a_large_body_is_no_large_head() -> None:
    body = b"a" * 300_000
    async with serving(Echo().application()) as server:
        length = b"Content-Length: %d" % len(body)
        received = await exchange(server, request(b"/echo", length, CLOSE, method=b"POST", body=body))
    assert answers(received) == [(200, body + b" no trailer")]


async def test_trailers_are_no_headers() -> None:
    async with serving(Echo().application()) as server:
        chunks = b"3\r\nabc\r\n0\r\nX-Late: a trailer\r\n\r\n"
        received = await exchange(
            server, request(b"/echo", b"Transfer-Encoding: chunked", CLOSE, method=b"POST", body=chunks)
        )
    assert answers(received) == [(200, b"abc no trailer")]


async def test_a_head_that_comes_too_slowly_is_refused() -> None:
    async with serving(Echo().application(), limits(head_seconds=SHORT)) as server:
        assert [status for status, _ in answers(await exchange(server, b"GET /a HT"))] == [408]
        assert [status for status, _ in answers(await exchange(server, b"\r\n"))] == [408]
        assert await exchange(server) == b""  # nothing was asked


async def test_the_head_of_a_later_request_has_its_own_time() -> None:
    echo = Echo()
    async with serving(echo.application(), limits(head_seconds=SHORT)) as server:
        received = answers(await exchange(server, request(b"/a") + b"GET /b HT"))
        assert [status for status, _ in received] == [200, 408]

        async def release() -> None:
            await echo.begun.wait()
            asyncio.get_running_loop().call_later(2 * SHORT, echo.held.set)

        received = answers(await exchange(server, request(b"/slow") + b"GET /b HT", then=release))
        assert [status for status, _ in received] == [200, 408]


async def test_a_connection_without_a_next_request_is_closed() -> None:
    async with serving(Echo().application(), limits(keep_alive_seconds=SHORT, linger_seconds=SHORT)) as server:
        assert answers(await exchange(server, request(b"/a"))) == [(200, b"a")]
        head = request(b"/refuse-not", b"Content-Length: 3", method=b"POST")
        assert [status for status, _ in answers(await exchange(server, head, b"abc"))] == [405]
        assert [status for status, _ in answers(await exchange(server, head, b"a"))] == [405]  # and no more comes


async def test_a_connection_is_closed_also_if_the_rest_of_a_body_came_behind_the_answer() -> None:
    async with serving(Echo().application(), limits(keep_alive_seconds=SHORT, linger_seconds=60)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(b"/a", b"Content-Length: 3", method=b"POST"))
        assert (await read_answer(reader))[0] == 405
        writer.write(b"abc")
        assert await reader.read() == b""
        writer.close()


async def test_a_refusal_is_read_by_a_caller_that_still_sends() -> None:
    async with serving(Echo().application()) as server:

        def call() -> bytes:
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(request(b"/refuse", b"Content-Length: 16777216", method=b"POST"))
                connection.sendall(bytes(16 << 20))
                return b"".join(iter(lambda: connection.recv(65536), b""))

        assert answers(await asyncio.to_thread(call)) == [(413, b"refused")]


async def test_an_endless_sender_is_cut_off_behind_its_refusal() -> None:
    async with serving(Echo().application(), limits(linger_seconds=SHORT)) as server:

        def call() -> None:
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(request(b"/refuse", b"Content-Length: 99999999999", method=b"POST"))
                while True:
                    connection.sendall(bytes(65536))

        with pytest.raises(OSError):
            await asyncio.to_thread(call)


async def test_a_body_that_nobody_read_does_not_end_the_connection() -> None:
    async with serving(Echo().application()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(b"/a", b"Content-Length: 5", method=b"POST"))
        assert (await read_answer(reader))[0] == 405
        writer.write(b"hello" + request(b"/b"))
        assert await read_answer(reader) == (200, b"b")
        writer.close()


async def test_a_refused_expectation_ends_the_connection_and_a_met_one_does_not() -> None:
    expects = (b"Expect: 100-continue", b"Content-Length: 5")
    async with serving(Echo().application(), limits(linger_seconds=60, keep_alive_seconds=60)) as server:
        received = await exchange(server, request(b"/a", *expects, method=b"POST"))
        assert [status for status, _ in answers(received)] == [405]
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(b"/echo", *expects, method=b"POST"))
        assert (await read_answer(reader))[0] == 100
        writer.write(b"hello" + request(b"/b"))
        assert await read_answer(reader) == (200, b"hello no trailer")
        assert await read_answer(reader) == (200, b"b")
        writer.close()


async def test_another_protocol_is_not_spoken_and_nothing_behind_the_request_is_lost() -> None:
    upgrade = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ")
    async with serving(Echo().application()) as server:
        received = await exchange(server, request(b"/a", *upgrade) + request(b"/b", *upgrade) + request(b"/c", CLOSE))
    assert answers(received) == [(200, b"a"), (200, b"b"), (200, b"c")]


async def test_who_does_not_read_is_cut_off_and_who_reads_slowly_is_not() -> None:
    async with serving(Echo().application(), limits(write_seconds=2 * SHORT)) as server:

        def call(wait: threading.Event) -> int:
            received = 0
            with socket.socket() as connection, contextlib.suppress(ConnectionResetError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", server.port))
                connection.sendall(request(b"/large", CLOSE))
                wait.wait()
                while data := connection.recv(65536):
                    received += len(data)
            return received

        cut_off = threading.Event()
        reading = asyncio.create_task(asyncio.to_thread(call, cut_off))
        while not server.open_connections:
            await asyncio.sleep(0)
        while server.open_connections:
            await asyncio.sleep(SHORT / 10)
        cut_off.set()
        assert await reading < 16 << 20
        assert await asyncio.to_thread(call, cut_off) > 16 << 20


async def test_connections_beyond_the_limit_are_closed_at_once_and_room_is_given_back() -> None:
    async with serving(Echo().application(), max_connections=3) as server:
        kept = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        for reader, writer in kept:
            writer.write(request(b"/a"))
            assert await read_answer(reader) == (200, b"a")
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert await reader.read() == b""
            writer.close()
        for _, writer in kept:
            writer.close()
        while server.open_connections:
            await asyncio.sleep(0)
        assert answers(await exchange(server, request(b"/b", CLOSE))) == [(200, b"b")]


async def test_the_log_says_nothing_of_uvicorn(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(Echo().application()) as server:
        await exchange(server, request(b"/a", CLOSE))
        await exchange(server, request(b"/a", b"Connection: Upgrade", b"Upgrade: websocket") + request(b"/a", CLOSE))
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]
