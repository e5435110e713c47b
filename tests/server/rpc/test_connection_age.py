"""Connections end in good order."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import pytest

from linnaeus.server.observability.metrics import Metrics
from linnaeus.server.rpc.connection_age import connection_age_options
from linnaeus.server.rpc.server import RpcServer, Service
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.server_security import ServerSecurity
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc


class Peers(v1_grpc.ClassifierServiceServicer):
    """Notes the connection of each call; a call for a model ends only when it is told to."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.held = asyncio.Event()
        self.may_end = asyncio.Event()

    async def ListModels(self, request: v1.ListModelsRequest, context: Any) -> v1.ListModelsResponse:
        self.seen.add(context.peer())
        return v1.ListModelsResponse()

    async def GetModel(self, request: v1.GetModelRequest, context: Any) -> v1.GetModelResponse:
        self.held.set()
        await self.may_end.wait()
        return v1.GetModelResponse()


@pytest.fixture
async def peers() -> Peers:
    return Peers()


@pytest.fixture
async def channel(peers: Peers) -> AsyncIterator[grpc.aio.Channel]:
    """To a server whose connections live for 200 ms; a plain channel.

    GOAWAY tells which calls the server had not begun; gRPC itself sends those again, unless that is switched off.
    """
    security = ServerSecurity(address=Address("127.0.0.1", 0), max_connections=100)
    server = RpcServer(Metrics("0"), security, 1 << 20, connection_age_options(0.2, 0))
    add = partial(v1_grpc.add_ClassifierServiceServicer_to_server, peers)
    await server.start([Service("linnaeus.v1.ClassifierService", add)])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as made:
        yield made
    ended = asyncio.get_running_loop().create_future()
    ended.set_result(None)
    await server.stop(ended, 1)


async def call_until_reconnected(stub: Any, peers: Peers, times: int) -> int:
    calls = 0
    while len(peers.seen) <= times:  # the test's own time limit ends it
        await asyncio.gather(*(stub.ListModels(v1.ListModelsRequest()) for _ in range(8)))
        calls += 8
    return calls


async def test_a_channel_reconnects_again_and_again_and_no_call_fails(channel: Any, peers: Peers) -> None:
    assert await call_until_reconnected(v1_grpc.ClassifierServiceStub(channel), peers, times=3) > 8


async def test_a_call_that_outlives_its_connection_s_age_is_answered(channel: Any, peers: Peers) -> None:
    stub = v1_grpc.ClassifierServiceStub(channel)
    held = asyncio.ensure_future(stub.GetModel(v1.GetModelRequest(), timeout=60))
    await peers.held.wait()
    await call_until_reconnected(stub, peers, times=2)
    assert not held.done()
    peers.may_end.set()
    await held


def test_no_limit_is_no_option() -> None:
    assert connection_age_options(0, 0) == []
    assert connection_age_options(300.0, 30.5) == [
        ("grpc.max_connection_age_ms", 300_000),
        ("grpc.max_connection_age_grace_ms", 30_500),
    ]
    assert connection_age_options(0.0001, 1e9) == [
        ("grpc.max_connection_age_ms", 1),
        ("grpc.max_connection_age_grace_ms", 2**31 - 1),
    ]
