"""While a server stops, new calls are held until GOAWAY is sent, then refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.server.rpc.call_observers import QueueingCallObserver
from tests.server.rpc.held_servicer import HeldServicer

from linnaeus.client.transport.retry_policy import service_config
from linnaeus.server.rpc.draining import CallDrainer
from linnaeus.server.rpc.interceptor import InterceptedServer
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc


class DrainingServer:
    def __init__(
        self,
        server: grpc.aio.Server,
        stub: Any,
        drainer: CallDrainer,
        servicer: HeldServicer,
        calls: QueueingCallObserver,
    ) -> None:
        self.server, self.stub, self.drainer = server, stub, drainer
        self.servicer, self.calls = servicer, calls

    async def classify(self) -> "asyncio.Task[v1.ClassifyResponse]":
        """Starts a call and waits until it reaches the server."""
        call = self.stub.Classify(v1.ClassifyRequest(image=v1.Image(encoded=b"\xff" * 100)), timeout=30)
        task = asyncio.ensure_future(_answer(call))
        await asyncio.wait_for(self.calls.started.get(), 60)
        return task


@pytest.fixture
async def draining() -> AsyncIterator[DrainingServer]:
    servicer, calls, drainer, server = HeldServicer(), QueueingCallObserver(), CallDrainer(), grpc.aio.server()
    v1_grpc.add_ClassifierServiceServicer_to_server(servicer, InterceptedServer(server, calls, drainer=drainer))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_retries", 0)]) as channel:
        yield DrainingServer(server, v1_grpc.ClassifierServiceStub(channel), drainer, servicer, calls)
    await server.stop(None)


async def test_no_call_is_held_before_the_server_stops(draining: DrainingServer) -> None:
    draining.servicer.may_end.set()
    assert (await (await draining.classify())).model == "answered"


async def test_a_call_during_the_stop_is_held_then_refused_as_unavailable(draining: DrainingServer) -> None:
    draining.drainer.hold_calls()
    held = await draining.classify()
    assert draining.calls.codes.empty() and not held.done()
    draining.drainer.release()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await held
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == "the server is stopping; another one may answer at once"
    status, detail = rpc_status.from_call(refused.value), error_details_pb2.RetryInfo()
    assert status is not None and status.details[0].Unpack(detail)
    assert await draining.calls.codes.get() == "UNAVAILABLE"


async def test_a_stream_during_the_stop_is_refused_too(draining: DrainingServer) -> None:
    draining.drainer.hold_calls()
    draining.drainer.release()
    stream = draining.stub.StreamClassify(iter([v1.StreamClassifyRequest()]), timeout=30)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream.read()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_calls_started_before_the_stop_are_answered(draining: DrainingServer) -> None:
    call = await draining.classify()
    stream = draining.stub.StreamClassify(timeout=30)
    await stream.write(v1.StreamClassifyRequest(correlation_id=1))
    assert (await stream.read()).correlation_id == 1
    draining.drainer.hold_calls()
    draining.servicer.may_end.set()
    assert (await call).model == "answered"
    await stream.write(v1.StreamClassifyRequest(correlation_id=2))
    assert (await stream.read()).correlation_id == 2
    stream.cancel()


async def test_it_is_quiet_when_the_calls_in_flight_have_ended_and_no_call_arrives(draining: DrainingServer) -> None:
    draining.drainer.hold_calls()
    in_flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(draining.drainer.wait_quiet(in_flight))
    await draining.classify()
    assert not waiting.done()
    in_flight.set_result(None)
    await asyncio.wait_for(waiting, 60)
    draining.drainer.release()


async def test_the_wait_for_quiet_is_bounded(draining: DrainingServer) -> None:
    draining.drainer.hold_calls()
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await asyncio.wait_for(draining.drainer.wait_quiet(never), 60)
    assert not never.cancelled()


async def test_a_refusal_sends_no_message_so_that_clients_retry(draining: DrainingServer) -> None:
    """A call that received a message, even an empty one, is never retried by a client's retry policy."""
    other, calls = grpc.aio.server(), QueueingCallObserver()
    drainer = CallDrainer()
    v1_grpc.add_ClassifierServiceServicer_to_server(HeldServicer(), InterceptedServer(other, calls, drainer=drainer))
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
    assert calls.started.qsize() == 4


async def _answer(call: Any) -> v1.ClassifyResponse:
    answer: v1.ClassifyResponse = await call
    return answer
