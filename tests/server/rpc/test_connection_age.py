"""Connections above the maximum age are closed without losing a call."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import pytest
from tests.server.rpc.idle_engine import IdleEngine

from linnaeus.server.observability.metrics import Metrics
from linnaeus.server.rpc.connection_age import connection_age_options
from linnaeus.server.rpc.server import RpcServer, Service
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.server_security import ServerSecurity
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc


class RecordingServicer(v1_grpc.ClassifierServiceServicer):
    """Records the peer of each ListModels call; GetModel returns only after `may_end` is set."""

    def __init__(self) -> None:
        self.peers: set[str] = set()
        self.held = asyncio.Event()
        self.may_end = asyncio.Event()

    async def ListModels(self, request: v1.ListModelsRequest, context: Any) -> v1.ListModelsResponse:
        self.peers.add(context.peer())
        return v1.ListModelsResponse()

    async def GetModel(self, request: v1.GetModelRequest, context: Any) -> v1.GetModelResponse:
        self.held.set()
        await self.may_end.wait()
        return v1.GetModelResponse()


@pytest.fixture
async def servicer() -> RecordingServicer:
    return RecordingServicer()


@pytest.fixture
async def channel(servicer: RecordingServicer) -> AsyncIterator[grpc.aio.Channel]:
    """A channel with default options to a server with a maximum connection age of 200 ms.

    GOAWAY names the last call that the server started; gRPC retries later ones, unless retries are disabled.
    """
    security = ServerSecurity(address=Address("127.0.0.1", 0), max_connections=100)
    server = RpcServer(Metrics("0"), security, 1 << 20, connection_age_options(0.2, 0))
    add = partial(v1_grpc.add_ClassifierServiceServicer_to_server, servicer)
    await server.start([Service("linnaeus.v1.ClassifierService", add)])
    await server.listen()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as grpc_channel:
        yield grpc_channel
    await server.stop(IdleEngine(), 1)


async def call_until_reconnected(stub: Any, servicer: RecordingServicer, times: int) -> int:
    calls = 0
    while len(servicer.peers) <= times:  # bounded by the test's timeout
        await asyncio.gather(*(stub.ListModels(v1.ListModelsRequest()) for _ in range(8)))
        calls += 8
    return calls


async def test_a_channel_reconnects_repeatedly_and_no_call_fails(channel: Any, servicer: RecordingServicer) -> None:
    assert await call_until_reconnected(v1_grpc.ClassifierServiceStub(channel), servicer, times=3) > 8


async def test_a_call_longer_than_the_connection_age_is_answered(channel: Any, servicer: RecordingServicer) -> None:
    stub = v1_grpc.ClassifierServiceStub(channel)
    held = asyncio.ensure_future(stub.GetModel(v1.GetModelRequest(), timeout=60))
    await servicer.held.wait()
    await call_until_reconnected(stub, servicer, times=2)
    assert not held.done()
    servicer.may_end.set()
    await held


def test_an_age_without_limit_sets_no_option() -> None:
    assert connection_age_options(0, 0) == []
    assert connection_age_options(300.0, 30.5) == [
        ("grpc.max_connection_age_ms", 300_000),
        ("grpc.max_connection_age_grace_ms", 30_500),
    ]
    assert connection_age_options(0.0001, 1e9) == [
        ("grpc.max_connection_age_ms", 1),
        ("grpc.max_connection_age_grace_ms", 2**31 - 1),
    ]
