"""What may do harm a second time is sent once: calls that change models, and what the server did not refuse itself.

Real gRPC servers count the attempts, before any message is read.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from tests.client.transport.tcp_server import tcp_server

from linnaeus.client import AsyncClient, Client, LinnaeusError, Outcome, Overloaded
from linnaeus.client.transport.hedging import Hedging
from linnaeus.client.transport.retry_policy import RETRIED_METHODS
from linnaeus.v1 import classifier_pb2 as messages

pytestmark = pytest.mark.usefixtures("short_backoff")

Code = grpc.StatusCode
Classifier = messages.DESCRIPTOR.services_by_name["ClassifierService"]
ModelService = messages.DESCRIPTOR.services_by_name["ModelService"]
KIBIBYTE = 1024


class CountingInterceptor(grpc.aio.ServerInterceptor):
    """Counts the attempts of each method."""

    def __init__(self) -> None:
        self.attempts: dict[str, int] = {}

    async def intercept_service(self, continuation, details):
        method = details.method.rpartition("/")[2]
        self.attempts[method] = self.attempts.get(method, 0) + 1
        return await continuation(details)


Answer = Callable[[str, grpc.aio.ServicerContext], Awaitable[Any]]


@asynccontextmanager
async def served(answer: Answer, **settings: Any) -> AsyncIterator[tuple[str, dict[str, int]]]:
    """Serves every method of both services with `answer`; yields the target and the attempts of each method."""
    counter = CountingInterceptor()
    server = grpc.aio.server(interceptors=[counter], **settings)
    for service in (Classifier, ModelService):
        handlers = {method.name: handler(method, answer) for method in service.methods}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}", counter.attempts
    await server.stop(None)


def handler(method: Any, answer: Answer) -> grpc.RpcMethodHandler:
    async def unary(request, context):
        return await answer(method.name, context)

    async def stream(requests, context):
        async for _ in requests:
            yield await answer(method.name, context)

    make, behaviour = {
        True: (grpc.stream_stream_rpc_method_handler, stream),
        False: (grpc.unary_unary_rpc_method_handler, unary),
    }[method.client_streaming]
    request_type = getattr(messages, method.input_type.name)
    response_type = getattr(messages, method.output_type.name)
    return make(behaviour, request_type.FromString, response_type.SerializeToString)


# Makes a call of either client to a target, as a coroutine; raises its error.
Send = Callable[..., Awaitable[None]]


async def send_blocking(target: str, name: str, *arguments: Any, **settings: Any) -> None:
    def call() -> None:
        with Client(target, timeout_seconds=60, **settings) as client:
            result = getattr(client, name)(*arguments)
            unwrap(list(result) if name in ("classify_many", "classify_stream") else result)

    await asyncio.to_thread(call)


async def send_asyncio(target: str, name: str, *arguments: Any, **settings: Any) -> None:
    async with AsyncClient(target, timeout_seconds=60, **settings) as client:
        result = getattr(client, name)(*arguments)
        streamed = name in ("classify_many", "classify_stream")
        unwrap([outcome async for outcome in result] if streamed else await result)


def unwrap(result: Any) -> None:
    if isinstance(result, list):
        for outcome in result:
            assert isinstance(outcome, Outcome) and outcome.unwrap()


@pytest.fixture(params=[send_blocking, send_asyncio])
def send(request) -> Send:
    return request.param


IMAGE = b"a picture"
# Every call of ClassifierService: its method, and the client's way to make it.
CLASSIFIER_CALLS = {
    "classify": ("Classify", ("classify", IMAGE), {}),
    "hedged": ("Classify", ("classify", IMAGE), {"hedging": Hedging(budget=1)}),
    "classify_many": ("Classify", ("classify_many", [IMAGE]), {}),
    "classify_batch": ("ClassifyBatch", ("classify_batch", [IMAGE]), {}),
    "classify_stream": ("StreamClassify", ("classify_stream", [IMAGE]), {}),
    "models": ("ListModels", ("models",), {}),
    "model": ("GetModel", ("model", "lenet"), {}),
}
MODEL_CALLS = {
    "LoadModel": ("load_model", "lenet"),
    "ReloadModel": ("reload_model", "lenet"),
    "UnloadModel": ("unload_model", "lenet"),
    "SetDefaultVersion": ("set_default_version", "lenet"),
}


def refusal(milliseconds: int) -> tuple[Any, ...]:
    """Returns the trailing metadata of the server's own refusals."""
    delay = Duration()
    delay.FromMilliseconds(milliseconds)
    status = Status(code=Code.RESOURCE_EXHAUSTED.value[0], message="full")
    status.details.add().Pack(RetryInfo(retry_delay=delay))
    return (*rpc_status.to_status(status).trailing_metadata, ("grpc-retry-pushback-ms", str(milliseconds)))


def test_every_method_is_either_retried_or_sent_once() -> None:
    """A new method of the contract must be decided upon."""
    assert {each["service"] for each in RETRIED_METHODS} == {Classifier.full_name}
    unary = {method.name for method in Classifier.methods if not method.client_streaming}
    assert {each["method"] for each in RETRIED_METHODS} == unary
    assert set(MODEL_CALLS) == {method.name for method in ModelService.methods}
    assert {method for method, _, _ in CLASSIFIER_CALLS.values()} == {method.name for method in Classifier.methods}


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_a_call_that_changes_models_is_sent_once_whatever_its_failure(send: Send, code: grpc.StatusCode) -> None:
    async def fail(method: str, context: grpc.aio.ServicerContext) -> None:
        await context.abort(code, "executed", refusal(1))

    async with served(fail) as (target, attempts):
        for name, *arguments in MODEL_CALLS.values():
            with pytest.raises(LinnaeusError):
                await send(target, name, *arguments)
        assert attempts == dict.fromkeys(MODEL_CALLS, 1)


async def test_a_call_that_changes_models_is_not_sent_again_when_its_connection_is_lost(send: Send) -> None:
    """The server dies while it executes the call, so that nobody knows what has become of it."""
    executed: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relays to a real server until that has begun a call, then drops the connection."""
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
        begun.clear()
        relays = [
            asyncio.create_task(relay(reader, upstream_writer)),
            asyncio.create_task(relay(upstream_reader, writer)),
        ]
        try:
            await begun.wait()
        finally:
            for task in relays:
                task.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
            for each in (writer, upstream_writer):
                each.transport.abort()

    async def begin(method: str, context: grpc.aio.ServicerContext) -> None:
        executed.append(method)
        begun.set()
        await asyncio.Event().wait()

    begun = asyncio.Event()
    async with served(begin) as (target, attempts), tcp_server(serve) as proxy:
        for name, *arguments in MODEL_CALLS.values():
            with pytest.raises(LinnaeusError):
                await send(proxy, name, *arguments)
        assert executed == list(MODEL_CALLS)


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def abort(*metadata: tuple[str, str]) -> Answer:
    async def answer(method: str, context: grpc.aio.ServicerContext) -> None:
        await context.abort(Code.RESOURCE_EXHAUSTED, "too much", metadata)

    return answer


async def large_trailer(method: str, context: grpc.aio.ServicerContext) -> None:
    """The client's gRPC reports RESOURCE_EXHAUSTED instead, with what is left of the metadata."""
    await context.abort(Code.NOT_FOUND, "no such model", (("names", "x" * 64 * KIBIBYTE),))


async def large_answer(method: str, context: grpc.aio.ServicerContext) -> Any:
    """Answers with more bytes than the client takes."""
    output = next(each for each in Classifier.methods if each.name == method).output_type.name
    text = "x" * (9 * KIBIBYTE * KIBIBYTE)
    if output == "ListModelsResponse":
        return messages.ListModelsResponse(models=[messages.Model(name=text)])
    if output == "GetModelResponse":
        return messages.GetModelResponse(labels=[text])
    return getattr(messages, output)(model=text)


# What gRPC or a proxy refuses: what answers, and the options of the server.
NOT_OURS = {
    "a proxy's rate limit": (abort(), {}),
    "a proxy's rate limit with a header of its own": (abort(("retry-after", "1")), {}),
    "a trailer that gRPC does not take": (large_trailer, {}),
    "an answer that gRPC does not take": (large_answer, {}),
    "a request that gRPC does not take": (abort(), {"options": [("grpc.max_receive_message_length", 0)]}),
}
# The request of ListModels is empty, so that no limit refuses it.
NEVER = ("a request that gRPC does not take", "models")


@pytest.mark.parametrize(("kind", "call"), [pair for pair in product(NOT_OURS, CLASSIFIER_CALLS) if pair != NEVER])
async def test_what_grpc_or_a_proxy_refuses_is_sent_once(send: Send, kind: str, call: str) -> None:
    answer, settings = NOT_OURS[kind]
    method, arguments, client_settings = CLASSIFIER_CALLS[call]
    async with served(answer, **settings) as (target, attempts):
        with pytest.raises(LinnaeusError):
            await send(target, *arguments, max_message_bytes=KIBIBYTE, **client_settings)
        assert attempts[method] == 1


@pytest.mark.parametrize("call", CLASSIFIER_CALLS)
async def test_what_grpc_refuses_for_too_many_calls_is_sent_once(send: Send, call: str) -> None:
    async def hold(method: str, context: grpc.aio.ServicerContext) -> None:
        held.set()
        await asyncio.Event().wait()

    held = asyncio.Event()
    method, arguments, settings = CLASSIFIER_CALLS[call]
    async with (
        served(hold, maximum_concurrent_rpcs=1) as (target, attempts),
        grpc.aio.insecure_channel(target) as channel,
    ):
        holder = channel.unary_unary(f"/{ModelService.full_name}/LoadModel")(b"")
        await held.wait()
        with pytest.raises(Overloaded):
            await send(target, *arguments, **settings)
        assert attempts[method] == 1
        holder.cancel()


@pytest.mark.parametrize("call", CLASSIFIER_CALLS)
async def test_what_the_server_itself_refuses_is_sent_four_times_at_most(send: Send, call: str) -> None:
    method, arguments, settings = CLASSIFIER_CALLS[call]
    async with served(abort(*refusal(1))) as (target, attempts):
        with pytest.raises(Overloaded):
            await send(target, *arguments, **settings)
        assert attempts[method] == 4


@pytest.mark.parametrize("pushback", ["-1", "soon", ""])
@pytest.mark.parametrize("call", CLASSIFIER_CALLS)
async def test_a_refusal_that_forbids_a_retry_is_final(send: Send, call: str, pushback: str) -> None:
    method, arguments, settings = CLASSIFIER_CALLS[call]
    metadata = (*refusal(1)[:-1], ("grpc-retry-pushback-ms", pushback))
    async with served(abort(*metadata)) as (target, attempts):
        with pytest.raises(Overloaded):
            await send(target, *arguments, **settings)
        assert attempts[method] == 1


@pytest.mark.parametrize("call", CLASSIFIER_CALLS)
async def test_a_lost_call_that_changes_nothing_is_sent_four_times_at_most(send: Send, call: str) -> None:
    async def fail(method: str, context: grpc.aio.ServicerContext) -> None:
        await context.abort(Code.UNAVAILABLE, "stopping")

    method, arguments, settings = CLASSIFIER_CALLS[call]
    async with served(fail) as (target, attempts):
        with pytest.raises(LinnaeusError):
            await send(target, *arguments, **settings)
        assert attempts[method] == 4
