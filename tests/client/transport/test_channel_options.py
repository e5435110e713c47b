"""Each option of the clients' channels that no other test covers, by what it does."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import pytest
from tests.client.transport.tcp_server import tcp_server

from linnaeus.client import AsyncClient, Client, Unavailable
from linnaeus.client.config import make_config
from linnaeus.client.load.generator.unary_calls import CHANNEL_OPTIONS, open_channel
from linnaeus.client.transport import channel_options
from linnaeus.client.transport.retry_policy import service_config
from linnaeus.v1 import classifier_pb2 as messages
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

ATTEMPTS = 8
# HTTP/2's first frame, empty; without it no client sends a call.
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


def quicker(monkeypatch: pytest.MonkeyPatch, name: str, factor: int) -> None:
    """Divides the times of a group of options."""
    options = getattr(channel_options, name)
    monkeypatch.setattr(channel_options, name, [(option, value // factor) for option, value in options])


def silent_server(received: Callable[[bytes], object]) -> AbstractAsyncContextManager[str]:
    """Takes connections and all that they bring, and answers neither calls nor pings; yields the address."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SETTINGS)
        while data := await reader.read(1 << 16):
            received(data)

    return tcp_server(connected)


@pytest.mark.parametrize("client_type", [Client, AsyncClient])
async def test_a_server_that_stands_still_is_noticed_during_a_call(monkeypatch, client_type):
    quicker(monkeypatch, "_KEEPALIVE", 50)
    async with silent_server(len) as target:
        client = client_type(target, timeout_seconds=60)
        with pytest.raises(Unavailable, match="ping timeout"):
            await (asyncio.to_thread(client.classify, b"x") if client_type is Client else client.classify(b"x"))
        closing = client.close()
        if closing is not None:
            await closing


def config(*targets: str) -> Any:
    target = list(targets) if len(targets) > 1 else targets[0]
    return make_config(
        target, timeout_seconds=30, max_message_bytes=None, tls=False, token=None, hedging=False, connections="auto"
    )


async def test_a_server_that_comes_back_is_found_soon(monkeypatch, patience_seconds):
    """With gRPC's own backoff, from one second to two minutes, so many attempts would take longer than the patience."""
    quicker(monkeypatch, "_RECONNECTION", 50)
    attempts: asyncio.Queue[None] = asyncio.Queue()

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.put_nowait(None)

    async with (
        tcp_server(close) as target,
        grpc.aio.insecure_channel(target, options=config(target).channel_options) as channel,
    ):
        call = ClassifierServiceStub(channel).Classify(messages.ClassifyRequest(), wait_for_ready=True)
        async with asyncio.timeout(patience_seconds / 4):
            for _ in range(ATTEMPTS):
                await attempts.get()
        call.cancel()


async def test_several_servers_are_called_by_the_name_of_the_first():
    """Proxies reject a name that holds all addresses."""
    received: asyncio.Queue[bytes] = asyncio.Queue()
    async with silent_server(received.put_nowait) as one, silent_server(received.put_nowait) as other:
        options = config(one, other).channel_options
        async with grpc.aio.insecure_channel(f"ipv4:{one},{other}", options=options) as channel:
            call = ClassifierServiceStub(channel).Classify(messages.ClassifyRequest())  # follows a health check
            sent = b""
            while b"content-type" not in sent:
                sent += await received.get()
            call.cancel()
        assert b":authority" + bytes([len(one)]) + one.encode() in sent


def test_each_connection_of_the_load_tester_is_its_own(stub, make_answer, patience_seconds):
    peers = set()

    def note(request, context):
        peers.add(context.peer())
        return make_answer(request)

    stub.on_classify = note
    for channel in [open_channel(stub.target, patience_seconds) for _ in range(3)]:
        ClassifierServiceStub(channel).Classify(messages.ClassifyRequest())
        channel.close()
    assert len(peers) == 3


def test_the_load_tester_sends_nothing_twice(stub):
    stub.fail(grpc.StatusCode.UNAVAILABLE, "not now")
    options = [*CHANNEL_OPTIONS, ("grpc.service_config", service_config(several=False))]
    with grpc.insecure_channel(stub.target, options=options) as channel, pytest.raises(grpc.RpcError):
        ClassifierServiceStub(channel).Classify(messages.ClassifyRequest())
    assert len(stub.images) == 1
