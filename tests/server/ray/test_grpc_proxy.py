"""In Ray's proxy a call keeps its deadline, a replica's error keeps its details, and a lost call may be sent again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from linnaeus.ray.grpc_proxy import ProxiedServices, add_services
from linnaeus.ray.outcome import failure
from linnaeus.ray.timeout import TIMEOUT_KEY
from linnaeus.server.errors import ModelNotFound, Overloaded
from linnaeus.server.rpc.status import to_status

UNARY, STREAM = "/linnaeus.v1.ClassifierService/Classify", "/linnaeus.v1.ClassifierService/StreamClassify"


class RayServer:
    """Puts its own behaviours in place of those of the methods, as Ray's gRPC server does."""

    def __init__(self, server: grpc.aio.Server, unary: Any, stream: Any) -> None:
        self._server, self._unary, self._stream = server, unary, stream
        self.paths: set[str] = set()

    def add_generic_rpc_handlers(self, handlers: tuple[ProxiedServices]) -> None:
        (services,) = handlers
        self.paths = set(services._method_handlers)
        services._method_handlers = {
            path: handler._replace(unary_unary=self._unary, stream_stream=self._stream)
            for path, handler in services._method_handlers.items()
        }
        self._server.add_generic_rpc_handlers(handlers)


async def answer(request: bytes, context: Any) -> bytes:
    return request


async def answers(requests: Any, context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


@asynccontextmanager
async def proxy(unary: Any = answer, stream: Any = answers, retries: str = "{}") -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    add_services(None, RayServer(server, unary, stream))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.service_config", retries)]) as channel:
        yield channel
    await server.stop(None)


async def refusal(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def details_of(error: grpc.aio.AioRpcError, detail: Any) -> Any:
    status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status.details[0].Unpack(detail)
    return detail


def ends(code: grpc.StatusCode, details: str) -> Callable[..., Awaitable[bytes]]:
    """What Ray does with a call that it fails itself."""

    async def end(request: bytes, context: Any) -> bytes:
        context.set_code(code)
        context.set_details(details)
        context.set_trailing_metadata([("request_id", "7")])
        return b""

    return end


async def test_all_services_are_served_but_watches_of_the_health() -> None:
    server = RayServer(grpc.aio.server(), answer, answers)
    add_services(None, server)
    assert {
        UNARY,
        STREAM,
        "/linnaeus.v1.ModelService/LoadModel",
        "/inference.GRPCInferenceService/ModelStreamInfer",
        "/grpc.health.v1.Health/Check",
    } <= server.paths
    assert "/grpc.health.v1.Health/Watch" not in server.paths
    names = [path.rpartition("/")[2] for path in server.paths]
    assert len(set(names)) == len(names)  # Ray knows methods by their names alone


async def test_the_seconds_that_a_call_has_left_are_among_its_metadata() -> None:
    seen: list[dict[str, Any]] = []

    async def record(request: bytes, context: Any) -> bytes:
        seen.append(dict(context.invocation_metadata()))
        return request

    async with proxy(record) as channel:
        claim = ((TIMEOUT_KEY, "1000"), ("application", "linnaeus"))
        assert await channel.unary_unary(UNARY)(b"\x0a", timeout=50, metadata=claim) == b"\x0a"
        await channel.unary_unary(UNARY)(b"\x0a", metadata=claim)
    # gRPC rounds a deadline up as it puts it into a header, here to tenths of a second.
    assert 0 < float(seen[0][TIMEOUT_KEY]) < 51 and seen[0]["application"] == "linnaeus"
    assert TIMEOUT_KEY not in seen[1]


async def test_a_replicas_error_arrives_with_code_details_and_pushback() -> None:
    status = to_status(Overloaded("the queue is full", 0.25))

    async def refuse(request: bytes, context: Any) -> bytes:
        return failure(status).SerializeToString()

    async with proxy(refuse) as channel:
        error = await refusal(channel.unary_unary(UNARY)(b""))
    assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
    assert dict(list(error.trailing_metadata()))["grpc-retry-pushback-ms"] == "250"
    assert details_of(error, error_details_pb2.RetryInfo()).retry_delay.nanos == 250_000_000


async def test_a_stream_keeps_the_answers_before_its_error() -> None:
    async def two_then_refuse(requests: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"\x0a"
        yield b""
        yield failure(to_status(ModelNotFound("nix", "no such model"))).SerializeToString()

    async with proxy(stream=two_then_refuse) as channel:
        call = channel.stream_stream(STREAM)(iter([b"\x0a"]))
        arrived = [await call.read(), await call.read()]
        error = await refusal(call.read())
    assert arrived == [b"\x0a", b""]
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert details_of(error, error_details_pb2.ResourceInfo()).resource_name == "nix"


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
async def test_a_call_that_was_lost_with_its_replica_is_sent_again_by_any_client(code: grpc.StatusCode) -> None:
    calls = []

    async def lose_the_first(request: bytes, context: Any) -> bytes:
        calls.append(request)
        return await ends(code, "The actor died")(request, context) if len(calls) == 1 else request

    policy = '{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":2,"initialBackoff":"0.01s","maxBackoff":"1s",'
    policy += '"backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}'
    async with proxy(lose_the_first, retries=policy) as channel:
        assert await channel.unary_unary(UNARY)(b"\x0a", timeout=50) == b"\x0a"
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("code", "arrives", "words"),
    [
        (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE, "Application not found"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.RESOURCE_EXHAUSTED, "Ray's limit"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.DEADLINE_EXCEEDED, "Application not found"),
    ],
)
async def test_what_ray_refuses_itself_says_what_to_do(code: Any, arrives: Any, words: str) -> None:
    async with proxy(ends(code, "Application not found")) as channel:
        error = await refusal(channel.unary_unary(UNARY)(b""))
    assert error.code() is arrives and words in (error.details() or "")
    assert dict(list(error.trailing_metadata()))["request_id"] == "7"


async def test_a_method_that_does_not_exist_is_unimplemented() -> None:
    async with proxy() as channel:
        error = await refusal(channel.unary_unary("/linnaeus.v1.ClassifierService/Nothing")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
