"""Connections in the handshake of TLS count as connections, and have their time."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.certificates import Authority
from tests.server.http.raw_http import Echo, answers, request
from tests.server.rpc.idle_engine import IdleEngine

from linnaeus.server.http.connections.connection_limits import ConnectionLimits
from linnaeus.server.http.connections.tls import TlsContexts
from linnaeus.server.http.server import HttpServer
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.tls import TlsFiles

NAME = "linnaeus.example"


@asynccontextmanager
async def serving(folder: Path, authority: Authority, limits: ConnectionLimits) -> AsyncIterator[HttpServer]:
    certificate, key = authority.issue(NAME).write(folder)
    contexts = TlsContexts(TlsFiles(str(certificate), str(key)))
    server = HttpServer(Echo().application(), Address("127.0.0.1", 0), 3, contexts.current, limits=limits)
    await server.listen()
    try:
        yield server
    finally:
        await server.stop(IdleEngine(), 0)


async def test_handshakes_that_never_end_take_no_more_than_their_connections_and_time(tmp_path: Path) -> None:
    authority = Authority()
    async with serving(tmp_path, authority, ConnectionLimits(handshake_seconds=0.3)) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        while server.open_connections < 3:
            await asyncio.sleep(0)
        refused, refused_writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await refused.read() == b"" and server.open_connections == 3
        for reader, _ in silent:
            assert await reader.read() == b""
        context = ssl.create_default_context(cadata=authority.certificate.decode())
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname=NAME)
        writer.write(request(b"/a", b"Connection: close"))
        assert answers(await reader.read()) == [(200, b"a")]
        for _, each in (*silent, (refused, refused_writer), (reader, writer)):
            each.close()


async def test_a_refusal_over_tls_is_read_by_a_caller_that_still_sends(tmp_path: Path) -> None:
    authority = Authority()
    async with serving(tmp_path, authority, ConnectionLimits()) as server:
        context = ssl.create_default_context(cadata=authority.certificate.decode())
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname=NAME)
        writer.write(request(b"/refuse", b"Content-Length: 4000000", method=b"POST", body=bytes(4_000_000)))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        writer.close()
