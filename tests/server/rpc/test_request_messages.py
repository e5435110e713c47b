"""Messages are read, inflated within bounds and parsed, their bytes are counted, and each failure has its status."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_status import rpc_status
from tests.server.rpc.call_observers import QueueingCallObserver

from benchmarks.attack.http2_frames import headers_frame, message_prefix, open_connection, reset_frame
from linnaeus.server.rpc.inflation import COMPRESSION_OPTIONS
from linnaeus.server.rpc.interceptor import InterceptedServer
from linnaeus.server.rpc.message_turns import MessageTurns
from linnaeus.server.rpc.status import PUSHBACK_KEY
from linnaeus.server.security.byte_budget import ByteBudget
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

MESSAGE_BYTES = 4 << 20
PATIENCE_SECONDS = 60
CLASSIFY = "/linnaeus.v1.ClassifierService/Classify"
STREAM = "/linnaeus.v1.ClassifierService/StreamClassify"
NO_PROTOBUF = b"\xff" * 12
NO_UTF_8 = b"\x12\x02\xff\xfe"  # a ClassifyRequest with this name of the model
METHODS = [
    CLASSIFY,
    "/linnaeus.v1.ClassifierService/ClassifyBatch",
    STREAM,
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
]


class Servicer(v1_grpc.ClassifierServiceServicer):
    """Answers with the size of the image; the model `held` waits until the test releases it."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.may_end = asyncio.Event()

    async def Classify(self, request: Any, context: Any) -> v1.ClassifyResponse:
        self.entered.set()
        if request.model == "held":
            await self.may_end.wait()
        return v1.ClassifyResponse(batch_size=len(request.image.encoded))

    async def ClassifyBatch(self, request: Any, context: Any) -> v1.ClassifyBatchResponse:
        return v1.ClassifyBatchResponse()

    async def StreamClassify(self, request_iterator: Any, context: Any) -> AsyncIterator[v1.StreamClassifyResponse]:
        async for request in request_iterator:
            yield v1.StreamClassifyResponse(correlation_id=len(request.image.encoded))


class Client:
    def __init__(
        self,
        address: str,
        channel: grpc.aio.Channel,
        servicer: Servicer,
        calls: QueueingCallObserver,
        budget: ByteBudget,
    ):
        self.address, self.channel, self.servicer, self.calls, self.budget = address, channel, servicer, calls, budget
        self.stub: Any = v1_grpc.ClassifierServiceStub(channel)

    def open(self, method: str = CLASSIFY) -> Any:
        """Begins a call without a message, with raw messages."""
        return self.channel.stream_stream(method)(timeout=PATIENCE_SECONDS)

    async def ended(self) -> str:
        return await asyncio.wait_for(self.calls.codes.get(), PATIENCE_SECONDS)

    async def refusal(self, call: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        return raised.value


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    servicer, calls = Servicer(), QueueingCallObserver()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MESSAGE_BYTES), *COMPRESSION_OPTIONS])
    budget = ByteBudget(MESSAGE_BYTES, 2 * MESSAGE_BYTES, 2 * MESSAGE_BYTES, grace_seconds=0.0, patience_seconds=60.0)
    intercepted: Any = InterceptedServer(server, calls, budget=budget)
    v1_grpc.add_ClassifierServiceServicer_to_server(servicer, intercepted)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), intercepted)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
        reflection.aio.ReflectionServicer(("linnaeus.v1.ClassifierService",)), intercepted
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        yield Client(f"127.0.0.1:{port}", channel, servicer, calls, budget)
    await server.stop(None)


@pytest.mark.parametrize("method", METHODS)
async def test_a_message_that_does_not_parse_is_an_invalid_argument_and_counted(client: Client, method: str) -> None:
    call = client.open(method)
    await call.write(NO_PROTOBUF)
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = await call.details()
    assert "12 bytes is no valid request of " + method[1:] in details and "Traceback" not in details
    assert (await client.calls.started.get(), await client.ended()) == (method.rpartition("/")[2], "INVALID_ARGUMENT")


async def test_messages_that_do_not_parse_give_one_line_of_the_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    call = client.channel.unary_unary(CLASSIFY)
    for _ in range(20):
        assert (await client.refusal(call(NO_UTF_8))).code() is grpc.StatusCode.INVALID_ARGUMENT
    lines = [record for record in caplog.records if "no valid request" in record.getMessage()]
    assert len(lines) == 1 and lines[0].exc_info is None and "Traceback" not in caplog.text


@pytest.mark.parametrize("method", [CLASSIFY, "/grpc.health.v1.Health/Watch"])
async def test_a_call_that_ends_without_its_message_is_answered(client: Client, method: str) -> None:
    call = client.open(method)
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "without its message" in await call.details() and await client.ended() == "INVALID_ARGUMENT"


async def test_a_call_that_is_cancelled_before_its_message_came_holds_nothing_any_more(client: Client) -> None:
    call = client.open()
    await call.wait_for_connection()
    await client.calls.started.get()
    call.cancel()
    assert await client.ended() == "CANCELLED"
    assert client.budget.held_bytes == 0


async def test_a_call_that_is_reset_in_the_middle_of_its_message_holds_nothing_any_more(client: Client) -> None:
    async with open_connection(client.address) as connection:
        connection.write(headers_frame(1, CLASSIFY))
        await connection.write_body(1, message_prefix(30_000) + bytes(20_000), is_whole=False)
        await client.calls.started.get()
        connection.write(reset_frame(1))
        assert await client.ended() == "CANCELLED"
    assert client.budget.held_bytes == 0


async def test_a_call_holds_its_message_until_it_is_answered(client: Client) -> None:
    request = v1.ClassifyRequest(model="held", image=v1.Image(encoded=bytes(1000)))
    call = asyncio.ensure_future(client.stub.Classify(request))
    await client.servicer.entered.wait()
    assert client.budget.held_bytes == request.ByteSize()
    client.servicer.may_end.set()
    assert (await call).batch_size == 1000 and await client.ended() == "OK"
    assert client.budget.held_bytes == 0


async def test_streams_know_of_a_call_from_its_message_to_its_end(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: set[object] = set()
    monkeypatch.setattr(MessageTurns, "call_came", lambda _, call: calls.add(call))
    monkeypatch.setattr(MessageTurns, "call_ended", lambda _, call: calls.discard(call))
    client.open()
    await client.calls.started.get()
    assert not calls
    call = asyncio.ensure_future(client.stub.Classify(v1.ClassifyRequest(model="held")))
    await client.servicer.entered.wait()
    assert len(calls) == 1
    client.servicer.may_end.set()
    await call
    assert await client.ended() == "OK" and not calls


async def test_a_call_without_a_message_gives_way_to_one_that_has_one(client: Client) -> None:
    silent = [client.open() for _ in range(2)]
    for _ in silent:
        await client.calls.started.get()
    request = v1.ClassifyRequest(image=v1.Image(encoded=bytes(10)))
    assert (await client.stub.Classify(request, timeout=PATIENCE_SECONDS)).batch_size == 10
    done, _ = await asyncio.wait([asyncio.ensure_future(call.code()) for call in silent], return_when="FIRST_COMPLETED")
    assert [code.result() for code in done] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    [ended] = [call for call in silent if call.done()]
    assert "send the whole message at once" in await ended.details()
    status, detail = await rpc_status.aio.from_call(ended), error_details_pb2.RetryInfo()
    assert status is not None and status.details[0].Unpack(detail) and detail.retry_delay.ToMilliseconds() == 1000
    assert PUSHBACK_KEY in dict(tuple(await ended.trailing_metadata()))


async def test_a_stream_that_waits_for_its_next_message_gives_way_too(client: Client) -> None:
    stream = client.stub.StreamClassify()
    await stream.write(v1.StreamClassifyRequest(image=v1.Image(encoded=bytes(7))))
    assert (await stream.read()).correlation_id == 7
    client.open()
    await asyncio.wait_for(client.stub.Classify(v1.ClassifyRequest()), PATIENCE_SECONDS)
    assert await stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_gzip_messages_are_answered(client: Client) -> None:
    small = v1.ClassifyRequest(image=v1.Image(encoded=b"ab" * 5000))
    large = v1.ClassifyRequest(image=v1.Image(encoded=bytes(900_000)))
    for request in (small, large):
        answer = await client.stub.Classify(request, compression=grpc.Compression.Gzip)
        assert answer.batch_size == len(request.image.encoded)
    stream = client.stub.StreamClassify(compression=grpc.Compression.Gzip)
    await stream.write(v1.StreamClassifyRequest(image=v1.Image(encoded=bytes(700_000))))
    assert (await stream.read()).correlation_id == 700_000


@pytest.mark.parametrize("content_bytes", [MESSAGE_BYTES + 1, 20 * MESSAGE_BYTES, 2_000_000])
async def test_a_gzip_message_that_inflates_too_much_is_refused(client: Client, content_bytes: int) -> None:
    request = v1.ClassifyRequest(image=v1.Image(encoded=bytes(content_bytes)))
    refused = await client.refusal(client.stub.Classify(request, compression=grpc.Compression.Gzip))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT and "inflates to more than" in str(refused.details())


@pytest.mark.parametrize("message", [b"\x1f\x8b", b"\x1f\x8b" + bytes(20), gzip.compress(bytes(1000), mtime=0)[:-9]])
async def test_a_broken_gzip_message_is_an_invalid_argument(client: Client, message: bytes) -> None:
    refused = await client.refusal(client.channel.unary_unary(CLASSIFY)(message))
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT and "gzip" in str(refused.details())


async def test_another_compression_is_refused_by_its_name(client: Client) -> None:
    call = client.stub.Classify(v1.ClassifyRequest(model="m" * 1000), compression=grpc.Compression.Deflate)
    refused = await client.refusal(call)
    assert refused.code() is grpc.StatusCode.UNIMPLEMENTED and "'deflate' is disabled" in str(refused.details())
