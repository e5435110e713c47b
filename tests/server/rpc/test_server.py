"""The port opens when asked; a stopping server ends health watches early and still writes all answers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc.aio import _server as aio_server
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.server.rpc.call_observers import NullCallObserver, QueueingCallObserver
from tests.server.rpc.held_servicer import HeldServicer
from tests.server.rpc.idle_engine import IdleEngine

from linnaeus.server.errors import StartupError
from linnaeus.server.rpc import server as rpc_server
from linnaeus.server.rpc.server import RpcServer, Service
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.server_security import ServerSecurity
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc


def make_server(observer: Any, port: int = 0) -> RpcServer:
    security = ServerSecurity(address=Address("127.0.0.1", port), health=Address("127.0.0.1", 0), max_connections=10)
    return RpcServer(observer, security, 1 << 20)


class StoppingServer:
    """A stopping server with one call in flight and one health watch."""

    def __init__(self, servicer: HeldServicer, call: Any, watch: Any, stop: "asyncio.Task[None]") -> None:
        self.servicer, self.call, self.watch, self.stop = servicer, call, watch, stop


@pytest.fixture
async def stopping(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StoppingServer]:
    monkeypatch.setattr(rpc_server, "_WRITE_SECONDS", 60.0)  # longer than these tests
    servicer, calls = HeldServicer(), QueueingCallObserver()
    server, engine = make_server(calls), IdleEngine()
    await server.start([Service("s", lambda target: v1_grpc.add_ClassifierServiceServicer_to_server(servicer, target))])
    await server.listen()
    await server.health.set_serving()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = v1_grpc.ClassifierServiceStub(channel).Classify(v1.ClassifyRequest())
        while await calls.started.get() != "Classify":
            pass
        stop = asyncio.create_task(server.stop(engine, grace_seconds=60))
        yield StoppingServer(servicer, call, watch, stop)
        servicer.may_end.set()
        await stop
        assert engine.drained.is_set()


async def test_a_watch_receives_not_serving_and_ends_before_the_last_answer_is_written(
    stopping: StoppingServer,
) -> None:
    assert (await stopping.watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await stopping.watch.code() is grpc.StatusCode.UNAVAILABLE
    assert not stopping.stop.done()
    stopping.servicer.may_end.set()
    assert (await stopping.call).model == "answered"


async def test_the_stop_ends_as_soon_as_all_calls_are_answered(stopping: StoppingServer) -> None:
    stopping.servicer.may_end.set()
    assert (await stopping.call).model == "answered"
    done, _ = await asyncio.wait({stopping.stop}, timeout=30)
    assert done


@pytest.mark.parametrize(("write_seconds", "grace_seconds"), [(0.1, 600.0), (600.0, 0.1), (600.0, 0.0)])
async def test_a_caller_that_never_ends_delays_the_stop_only_for_the_writing_of_answers_and_within_the_grace(
    monkeypatch: pytest.MonkeyPatch, write_seconds: float, grace_seconds: float
) -> None:
    monkeypatch.setattr(rpc_server, "_WRITE_SECONDS", write_seconds)
    server, servicer = make_server(NullCallObserver()), HeldServicer()
    await server.start([Service("s", lambda target: v1_grpc.add_ClassifierServiceServicer_to_server(servicer, target))])
    await server.listen()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stream = v1_grpc.ClassifierServiceStub(channel).StreamClassify()
        await stream.write(v1.StreamClassifyRequest(correlation_id=1))
        assert (await stream.read()).correlation_id == 1
        await asyncio.wait_for(server.stop(IdleEngine(), grace_seconds), 60)
        assert await stream.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


async def test_no_grace_of_grpc_ends_while_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of one stop's grace gRPC (1.76) crashed in most runs if another stop had just ended."""
    graces: list[float | None] = []
    stop = aio_server.Server.stop

    async def recorded(server: aio_server.Server, grace: float | None) -> None:
        graces.append(grace)
        await stop(server, grace)

    monkeypatch.setattr(aio_server.Server, "stop", recorded)
    server = make_server(NullCallObserver())
    await server.start([])
    await server.listen()
    await server.stop(IdleEngine(), 0)
    assert graces and all(grace is None or grace > 24 * 60 * 60 for grace in graces)


async def test_callers_cannot_connect_before_the_server_listens_and_the_health_port_answers() -> None:
    server = make_server(NullCallObserver())
    await server.start([])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 10)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.health_port}") as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert server.health.unready_reason == "the models are loading"
    await server.listen()
    socket.create_connection(("127.0.0.1", server.port), 10).close()
    await server.stop(IdleEngine(), 0)


async def test_a_server_that_never_listened_stops_and_gives_its_port_back() -> None:
    server = make_server(NullCallObserver())
    await server.start([])
    await asyncio.wait_for(server.stop(IdleEngine(), 600), 60)
    socket.create_server(("127.0.0.1", server.port)).close()


async def test_a_port_in_use_is_refused_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=rf"^gRPC cannot listen on 127.0.0.1:{port}: another program uses"):
            make_server(NullCallObserver(), port)


async def test_a_lame_duck_is_not_ready_for_good() -> None:
    server = make_server(NullCallObserver())
    await server.start([])
    await server.health.set_serving()
    assert server.health.is_serving and not server.health.is_stopping
    await server.lame_duck(0)
    await server.health.set_serving()  # as when a device or model changes meanwhile
    assert not server.health.is_serving and server.health.is_stopping
    assert server.health.unready_reason == "the server is stopping"
    await server.stop(IdleEngine(), 0)
