"""A stop answers every request that was sent, and closes the port without resetting a connection."""

import asyncio
import contextlib
import errno
import resource
import socket
import sys

import pytest
from tests.server.http.raw_http import Echo, answers, exchange, read_answer, request, serving
from tests.server.rpc.idle_engine import IdleEngine


async def test_a_stop_closes_what_idles_and_answers_what_has_arrived() -> None:
    echo = Echo()
    async with serving(echo.application()) as server:
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", server.port)
        idle_writer.write(request(b"/a"))
        await read_answer(idle)
        busy, busy_writer = await asyncio.open_connection("127.0.0.1", server.port)
        busy_writer.write(request(b"/slow"))
        await echo.begun.wait()
        stopping = asyncio.create_task(server.stop(IdleEngine(), 60))
        assert await idle.read() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port)
        echo.held.set()
        assert await read_answer(busy) == (200, b"slow")
        assert await busy.read() == b""
        await stopping
        for writer in (idle_writer, busy_writer):
            writer.close()


async def test_in_the_lame_duck_time_new_connections_are_taken_and_each_answer_is_the_last_of_its_connection() -> None:
    echo = Echo()
    async with serving(echo.application()) as server:
        kept, kept_writer = await asyncio.open_connection("127.0.0.1", server.port)
        kept_writer.write(request(b"/a"))
        assert await read_answer(kept) == (200, b"a")
        busy, busy_writer = await asyncio.open_connection("127.0.0.1", server.port)
        busy_writer.write(request(b"/slow"))
        await echo.begun.wait()
        server.lame_duck()
        kept_writer.write(request(b"/b"))
        assert b"\r\nconnection: close\r\n" in await kept.read()
        echo.held.set()
        assert b"\r\nconnection: close\r\n" in await busy.read()
        pipelined = await exchange(server, request(b"/c") + request(b"/d"))
        assert answers(pipelined) == [(200, b"c"), (200, b"d")] and pipelined.count(b"connection: close") == 1
        for writer in (kept_writer, busy_writer):
            writer.close()


async def test_callers_that_connected_before_the_port_was_closed_are_answered() -> None:
    async with serving(Echo().application()) as server:
        early = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", server.port))
        stopping = asyncio.create_task(server.stop(IdleEngine(), 60))
        with contextlib.closing(early):
            early.sendall(request(b"/a"))
            assert b"HTTP/1.1 200" in await asyncio.to_thread(early.recv, 4096)
        await stopping


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
async def test_nobody_is_connected_in_the_moment_before_the_port_closes() -> None:
    async with serving(Echo().application()) as server:
        stopping = asyncio.create_task(server.stop(IdleEngine(), 60))
        await asyncio.sleep(0)
        with socket.socket() as late:
            late.setblocking(False)
            assert late.connect_ex(("127.0.0.1", server.port)) == errno.EINPROGRESS
            await stopping
            late.settimeout(60)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.to_thread(late.sendall, request(b"/a"))


async def test_a_process_without_a_free_file_stops_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Echo().application()) as server:
        waiting = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", server.port))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            await server.stop(IdleEngine(), 60)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with contextlib.closing(waiting), pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(socket.create_connection, ("127.0.0.1", server.port))
    assert "HTTP cannot accept a connection" in caplog.text
