"""How the bytes of requests are cut on their way changes no answer."""

import asyncio
import re
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.http.raw_http import HOST, Echo, request, serving

from linnaeus.server.process.event_loop import new_event_loop

T = TypeVar("T")

PIECES = [
    request(b"/a"),
    request(b"/a%00%2e%2e?q=%ff"),
    request(b"/echo", b"Content-Length: 5", method=b"POST", body=b"hello"),
    request(
        b"/echo",
        b"Transfer-Encoding: chunked",
        method=b"POST",
        body=b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Late: 1\r\n\r\n",
    ),
    request(b"/a", b"Content-Length: 3", method=b"POST", body=b"abc"),
    request(b"/a", method=b"HEAD"),
    request(b"/a", b"Connection: Upgrade", b"Upgrade: h2c"),
    b"GET http://localhost/a HTTP/1.1\r\n" + HOST + b"\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    b"\r\n\r\n",
]
ENDS = [
    request(b"/z", b"Connection: close"),
    b"GET /z HTTP/1.0\r\n\r\n",
    b"BOGUS\r\n\r\n",
    request(b"/z", b"X: a\r\n folded"),
    request(b"/echo", b"Transfer-Encoding: chunked", method=b"POST", body=b"3\r\nabc\r\nZ\r\n"),
    request(b"/z", *[b"X: a"] * 101),
]


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(coroutine)


async def _answered(whole: bytes, cuts: Sequence[int]) -> bytes:
    async with serving(Echo().application()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
                writer.write(whole[begin:end])
                for _ in range(4):
                    await asyncio.sleep(0)
            received = await reader.read()
        finally:
            writer.close()
    return re.sub(rb"date: [^\r]+", b"date", received)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_answers_do_not_depend_on_how_the_bytes_come(data: st.DataObject) -> None:
    whole = b"".join(data.draw(st.lists(st.sampled_from(PIECES), max_size=5))) + data.draw(st.sampled_from(ENDS))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))

    async def both() -> tuple[bytes, bytes]:
        return await _answered(whole, []), await _answered(whole, cuts)

    at_once, in_pieces = _run(both())
    assert at_once == in_pieces
    assert at_once.startswith(b"HTTP/1.1 ")


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(1, 299), max_size=5))
def test_any_bytes_end_in_an_answer_or_a_closed_connection(sent: bytes, cuts: list[int]) -> None:
    async def attack() -> bytes:
        async with serving(Echo().application()) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            places = sorted({cut for cut in cuts if cut < len(sent)})
            for begin, end in zip([0, *places], [*places, len(sent)], strict=True):
                writer.write(sent[begin:end])
                await asyncio.sleep(0)
            writer.write_eof()
            received = await reader.read()
            writer.close()
            return received

    received = _run(attack())
    assert not received or re.match(rb"HTTP/1\.1 (200|4\d\d|501) ", received)
