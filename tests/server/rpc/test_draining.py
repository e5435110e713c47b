"""While a server stops, calls that come too late are held until their connection was told, then refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from linnaeus.client.channels import service_config
from linnaeus.server.rpc.draining import CallDrainer
from linnaeus.server.rpc.interceptor import InterceptedServer, Method
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc


class CallStarts:
    """Tells of each call that begins."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[str] = asyncio.Queue()
        self.codes: asyncio.Queue[str] = asyncio.Queue()

    def call_started(self, method: Method) -> None:
        self.calls.put_nowait(method.name)

    def call_handled(self, method: Method, code: str, seconds: float) -> None:
        self.codes.put_nowait(code)


class Servicer(v1_grpc.ClassifierServiceServicer):
    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def Classify(self, request: Any, context: Any) -> v1.ClassifyResponse:
        await self.may_end.wait()
        return v1.ClassifyResponse(model="answered")

    async def StreamClassify(self, request_iterator: Any, context: Any) -> AsyncIterator[v1.StreamClassifyResponse]:
        async for request in request_iterator:
            yield v1.StreamClassifyResponse(correlation_id=request.correlation_id)


class Scene:
    def __init__(
        self, server: grpc.aio.Server, stub: Any, drainer: CallDrainer, servicer: Servicer, started: CallStarts
    ) -> None:
        self.server, self.stub, self.drainer = server, stub, drainer
        self.servicer, self.started = servicer, started

    async def classify(self) -> "asyncio.Task[v1.ClassifyResponse]":
        """A call that has reached the server."""
        call = self.stub.Classify(v1.ClassifyRequest(image=v1.Image(encoded=b"\xff" * 100)), timeout=30)
        task = asyncio.ensure_future(_answer(call))
        await asyncio.wait_for(self.started.calls.get(), 60)
        return task


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    servicer, started, drainer, server = Servicer(), CallStarts(), CallDrainer(), grpc.aio.server()
    v1_grpc.add_ClassifierServiceServicer_to_server(servicer, InterceptedServer(server, started, drainer=drainer))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_retries", 0)]) as channel:
        yield Scene(server, v1_grpc.ClassifierServiceStub(channel), drainer, servicer, started)
    await server.stop(None)


async def test_before_the_server_stops_no_call_is_held(scene: Scene) -> None:
    scene.servicer.may_end.set()
    assert (await (await scene.classify())).model == "answered"


async def test_a_call_that_comes_too_late_is_held_then_refused_and_tells_to_go_elsewhere(scene: Scene) -> None:
    scene.drainer.hold_calls()
    late = await scene.classify()
    assert scene.started.codes.empty() and not late.done()
    scene.drainer.release()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await late
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == "the server is stopping; another one may answer at once"
    status, detail = rpc_status.from_call(refused.value), error_details_pb2.RetryInfo()
    assert status is not None and status.details[0].Unpack(detail)
    assert await scene.started.codes.get() == "UNAVAILABLE"


async def test_a_stream_that_comes_too_late_is_refused_too(scene: Scene) -> None:
    scene.drainer.hold_calls()
    scene.drainer.release()
    stream = scene.stub.StreamClassify(iter([v1.StreamClassifyRequest()]), timeout=30)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream.read()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_what_was_begun_before_is_answered(scene: Scene) -> None:
    begun = await scene.classify()
    stream = scene.stub.StreamClassify(timeout=30)
    await stream.write(v1.StreamClassifyRequest(correlation_id=1))
    assert (await stream.read()).correlation_id == 1
    scene.drainer.hold_calls()
    scene.servicer.may_end.set()
    assert (await begun).model == "answered"
    await stream.write(v1.StreamClassifyRequest(correlation_id=2))
    assert (await stream.read()).correlation_id == 2
    stream.cancel()


async def test_it_is_quiet_once_what_was_begun_has_ended_and_no_call_comes(scene: Scene) -> None:
    scene.drainer.hold_calls()
    in_flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(scene.drainer.wait_quiet(in_flight))
    await scene.classify()
    assert not waiting.done()
    in_flight.set_result(None)
    await asyncio.wait_for(waiting, 60)
    scene.drainer.release()


async def test_the_wait_for_quiet_ends(scene: Scene) -> None:
    scene.drainer.hold_calls()
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await asyncio.wait_for(scene.drainer.wait_quiet(never), 60)
    assert not never.cancelled()


async def test_a_refusal_comes_without_a_message_so_that_it_is_tried_again(scene: Scene) -> None:
    """With one, or with the status of a method that merely returns, a client's retry policy would never act."""
    other, started = grpc.aio.server(), CallStarts()
    drainer = CallDrainer()
    v1_grpc.add_ClassifierServiceServicer_to_server(Servicer(), InterceptedServer(other, started, drainer=drainer))
    port = other.add_insecure_port("127.0.0.1:0")
    await other.start()
    drainer.hold_calls()
    drainer.release()
    options = [("grpc.service_config", service_config(several=False))]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await v1_grpc.ClassifierServiceStub(channel).Classify(v1.ClassifyRequest(), timeout=30)
    await other.stop(None)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert started.calls.qsize() == 4


async def _answer(call: Any) -> v1.ClassifyResponse:
    answer: v1.ClassifyResponse = await call
    return answer
