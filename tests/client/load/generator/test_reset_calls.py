"""Calls that gRPC resets at the server, before the server sees them: sent once, and recognized in the result."""

import asyncio
import threading
from dataclasses import replace

from tests.client.transport.tcp_server import tcp_server

from linnaeus.client.load.generator.request_messages import RequestMessage
from linnaeus.client.load.generator.unary_calls import UnaryCaller, open_channel, read_response
from linnaeus.client.load.report.failures import reset_sentence
from linnaeus.client.load.results import FailureReason

# HTTP/2 frames: empty SETTINGS, and RST_STREAM of the first stream with the code REFUSED_STREAM.
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
REFUSED = b"\0\0\4\3\0\0\0\0\1" + b"\0\0\0\7"


async def test_a_call_that_grpc_resets_is_recognized_by_its_words(make_measurement, make_run, patience_seconds):
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SETTINGS)
        while data := await reader.read(1 << 16):
            if b"ClassifierService" in data:
                writer.write(REFUSED)

    ended, results = threading.Event(), []

    def on_end(each):
        results.extend(each)
        ended.set()

    def call(target):
        caller = UnaryCaller(open_channel(target, patience_seconds), "Classify", read_response)
        caller.start(RequestMessage(b"", (0,), False), patience_seconds, on_end)
        assert ended.wait(patience_seconds)
        caller.close()

    async with tcp_server(connected) as target:
        await asyncio.to_thread(call, target)
    ((code, top, sentence),) = results
    assert (code, top) == (14, None)
    reset = replace(make_measurement(), failures=(FailureReason("UNAVAILABLE", 1, sentence),))
    assert "gRPC reset 1 call at the server" in reset_sentence(make_run(reset))
