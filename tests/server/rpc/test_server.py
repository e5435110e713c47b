"""A server that stops sends away who only watches, and cuts no answer off for them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.server.rpc.test_draining import CallStarts, Servicer

from linnaeus.server.rpc import server as rpc_server
from linnaeus.server.rpc.server import RpcServer, Service
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.server_security import ServerSecurity
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc


class StoppingServer:
    """A server with a call that has begun and a watch of its health, told to stop; the engine has nothing in flight."""

    def __init__(self, servicer: Servicer, call: Any, watch: Any, stop: "asyncio.Task[None]") -> None:
        self.servicer, self.call, self.add_engine, self.stop = servicer, call, watch, stop


@pytest.fixture
async def stopping(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StoppingServer]:
    monkeypatch.setattr(rpc_server, "_WRITE_SECONDS", 60.0)  # no moment of these tests is as long
    servicer, started = Servicer(), CallStarts()
    server = RpcServer(started, ServerSecurity(address=Address("127.0.0.1", 0), max_connections=10), 1 << 20)
    service = Service("s", lambda drainer: v1_grpc.add_ClassifierServiceServicer_to_server(servicer, drainer))
    await server.start([service])
    await server.set_serving()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = v1_grpc.ClassifierServiceStub(channel).Classify(v1.ClassifyRequest())
        while await started.calls.get() != "Classify":
            pass
        nothing = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        stop = asyncio.create_task(server.stop(nothing, grace_seconds=60))
        yield StoppingServer(servicer, call, watch, stop)
        servicer.may_end.set()
        await stop


async def test_a_watch_is_told_and_ends_before_the_last_answer_is_written(stopping: StoppingServer) -> None:
    assert (await stopping.add_engine.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await stopping.add_engine.code() is grpc.StatusCode.UNAVAILABLE
    assert not stopping.stop.done()
    stopping.servicer.may_end.set()
    assert (await stopping.call).model == "answered"


async def test_it_ends_as_soon_as_all_is_answered(stopping: StoppingServer) -> None:
    stopping.servicer.may_end.set()
    assert (await stopping.call).model == "answered"
    done, _ = await asyncio.wait({stopping.stop}, timeout=30)
    assert done
