"""Every call is observed once with its code, and its error becomes a status; faults show only a log reference."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.server.reference_cycles import reference_cycles
from tests.server.rpc.served_classifier import served

from linnaeus.server.errors import (
    DeadlineExceeded,
    InternalFailure,
    InvalidImage,
    ModelNotFound,
    NotLoaded,
    Overloaded,
    RequestError,
    Unavailable,
)
from linnaeus.server.rpc.interceptor import InterceptedServer, Method
from linnaeus.server.rpc.status import PUSHBACK_KEY
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc


class RecordingCallObserver:
    """A `CallObserver` that records calls; a caller may receive its answer before the call is recorded."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self._ended: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    def call_started(self, method: Method) -> None:
        self.started.append(method.name)

    def call_handled(self, method: Method, code: str, seconds: float) -> None:
        assert seconds >= 0
        self._ended.put_nowait((method.name, method.kind, code))

    async def handled(self, count: int = 1) -> list[tuple[str, str, str]]:
        """Waits for the next calls to end, and checks that no further call has ended."""
        ended = [await asyncio.wait_for(self._ended.get(), 60) for _ in range(count)]
        assert self._ended.empty()
        return ended


class Servicer(v1_grpc.ClassifierServiceServicer):
    """A servicer that raises a set error; a Classify call with a negative `top_k` waits for ever."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.entered = asyncio.Event()

    async def Classify(self, request: Any, context: Any) -> v1.ClassifyResponse:
        self.entered.set()
        if request.top_k < 0:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return v1.ClassifyResponse(model="m")

    async def StreamClassify(self, request_iterator: Any, context: Any) -> AsyncIterator[v1.StreamClassifyResponse]:
        async for request in request_iterator:
            if self.error is not None:
                raise self.error
            yield v1.StreamClassifyResponse(correlation_id=request.correlation_id)


class Client:
    def __init__(self, stub: Any, servicer: Servicer, calls: RecordingCallObserver) -> None:
        self.stub, self.servicer, self.calls = stub, servicer, calls

    async def refusal(self) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.stub.Classify(v1.ClassifyRequest(), timeout=60)
        return raised.value


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    calls, servicer = RecordingCallObserver(), Servicer()
    async with served(servicer, calls) as stub:
        yield Client(stub, servicer, calls)


async def test_a_successful_call_is_counted_as_ok(client: Client) -> None:
    assert (await client.stub.Classify(v1.ClassifyRequest(), timeout=60)).model == "m"
    assert client.calls.started == ["Classify"]
    assert await client.calls.handled() == [("Classify", "UNARY", "OK")]


@pytest.mark.parametrize(
    ("error", "code", "kind", "field", "value"),
    [
        (InvalidImage("image.encoded", "bad"), "INVALID_ARGUMENT", "BadRequest", "field_violations", None),
        (ModelNotFound("m/1", "gone"), "NOT_FOUND", "ResourceInfo", "resource_name", "m/1"),
        (Overloaded("full", 1.5), "RESOURCE_EXHAUSTED", "RetryInfo", "retry_delay", None),
        (DeadlineExceeded("late", 0.5), "DEADLINE_EXCEEDED", "ErrorInfo", "reason", "DEADLINE_CANNOT_BE_MET"),
        (Unavailable("loading", 2.0), "UNAVAILABLE", "RetryInfo", "retry_delay", None),
        (NotLoaded("refused", {"m/1": "why"}), "FAILED_PRECONDITION", "PreconditionFailure", "violations", None),
        (InternalFailure("ours", "ref"), "INTERNAL", "ErrorInfo", "reason", "INTERNAL"),
    ],
)
async def test_each_error_has_its_code_message_and_details(
    client: Client, error: RequestError, code: str, kind: str, field: str, value: object
) -> None:
    client.servicer.error = error
    refused = await client.refusal()
    assert (refused.code().name, refused.details()) == (code, str(error))
    status = await rpc_status.aio.from_call(_EndedCall(refused))
    detail = getattr(error_details_pb2, kind)()
    assert status is not None and status.details[0].Unpack(detail)
    assert getattr(detail, field) == value if value is not None else getattr(detail, field)
    assert await client.calls.handled() == [("Classify", "UNARY", code)]


async def test_a_deadline_error_contains_the_predicted_wait_and_the_lateness(
    client: Client,
) -> None:
    client.servicer.error = DeadlineExceeded("late", 0.25, 1.5)
    status = await rpc_status.aio.from_call(_EndedCall(await client.refusal()))
    detail = error_details_pb2.ErrorInfo()
    assert status is not None and status.details[0].Unpack(detail)
    assert detail.domain == "linnaeus"
    assert {key: float(value) for key, value in detail.metadata.items()} == {
        "predicted_wait_seconds": 1.5,
        "late_by_seconds": 0.25,
    }


async def test_the_details_and_the_pushback_of_an_overload_have_the_same_time(client: Client) -> None:
    client.servicer.error = Overloaded("full", 0.75)
    refused = await client.refusal()
    status = await rpc_status.aio.from_call(_EndedCall(refused))
    detail = error_details_pb2.RetryInfo()
    assert status is not None and status.details[0].Unpack(detail)
    assert detail.retry_delay.ToNanoseconds() == 750_000_000
    assert (PUSHBACK_KEY, "750") in tuple(refused.trailing_metadata())


@pytest.mark.parametrize("error", [DeadlineExceeded("late", 0.5), Unavailable("loading", 2.0)])
async def test_only_an_overload_has_a_pushback(client: Client, error: RequestError) -> None:
    client.servicer.error = error
    assert PUSHBACK_KEY not in dict(tuple((await client.refusal()).trailing_metadata()))


async def test_the_pushback_of_an_overload_is_in_whole_milliseconds_rounded_up(client: Client) -> None:
    client.servicer.error = Overloaded("full", 1.2345)
    refused = await client.refusal()
    assert (PUSHBACK_KEY, "1235") in tuple(refused.trailing_metadata())


async def test_an_unexpected_exception_is_internal_with_only_a_log_reference(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.servicer.error = ZeroDivisionError("secret path /etc/x")
    refused = await client.refusal()
    assert refused.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in refused.details() and "Traceback" not in refused.details()
    reference = refused.details().rsplit(" ", 1)[1]
    assert reference in caplog.text and "ZeroDivisionError" in caplog.text
    assert await client.calls.handled() == [("Classify", "UNARY", "INTERNAL")]


async def test_streams_are_counted_and_their_errors_mapped_too(client: Client) -> None:
    requests = [v1.StreamClassifyRequest(correlation_id=number) for number in range(3)]
    answers = [each.correlation_id async for each in client.stub.StreamClassify(iter(requests), timeout=60)]
    assert answers == [0, 1, 2]
    client.servicer.error = Unavailable("loading", 1.0)
    call = client.stub.StreamClassify(timeout=60)
    await call.write(requests[0])
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    handled = await client.calls.handled(2)
    assert [code for _, _, code in handled] == ["OK", "UNAVAILABLE"]
    assert {kind for _, kind, _ in handled} == {"BIDI_STREAMING"}


async def test_a_cancelled_call_is_counted_as_cancelled(client: Client) -> None:
    call = client.stub.Classify(v1.ClassifyRequest(top_k=-1), timeout=60)
    waiting = asyncio.ensure_future(call)
    await client.servicer.entered.wait()
    call.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await client.calls.handled() == [("Classify", "UNARY", "CANCELLED")]


async def test_a_refused_call_leaves_no_reference_cycle(client: Client) -> None:
    """A cycle would keep the image in memory, and under overload the collector would run constantly."""
    with reference_cycles() as names:
        for _ in range(5):
            client.servicer.error = Unavailable("loading", 2.0)  # the servicer keeps the last one, with its traceback
            await client.refusal()
        client.servicer.error = None
    assert not names


@pytest.mark.parametrize(("remaining_seconds", "code"), [(0.0, "DEADLINE_EXCEEDED"), (5.0, "CANCELLED")])
async def test_a_cancelled_call_is_counted_as_deadline_exceeded_if_its_deadline_has_passed(
    remaining_seconds: float, code: str
) -> None:
    """The server's clock decides. In a real call the caller's clock may be ahead, and the caller cancels first."""

    class Context:
        def time_remaining(self) -> float:
            return remaining_seconds

        def peer(self) -> str:
            return "ipv4:192.0.2.1:5000"

        def peer_identities(self) -> None:
            return None

        async def read(self) -> bytes:
            return b""

    class Server:
        def add_generic_rpc_handlers(self, handlers: tuple[grpc.ServiceRpcHandler]) -> None:
            self.handlers = handlers

    class Details:
        method = "/service/Classify"

    async def behaviour(request: object, context: object) -> None:
        raise asyncio.CancelledError

    calls, server = RecordingCallObserver(), Server()
    method = grpc.unary_unary_rpc_method_handler(behaviour)
    InterceptedServer(server, calls).add_registered_method_handlers("service", {"Classify": method})  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await server.handlers[0].service(Details()).stream_unary(None, Context())
    assert await calls.handled() == [("Classify", "UNARY", code)]


class _EndedCall:
    """An ended call in the form that `grpc_status.rpc_status.aio` reads."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self._error = error

    async def code(self) -> grpc.StatusCode:
        return self._error.code()

    async def details(self) -> str | None:
        return self._error.details()

    async def trailing_metadata(self) -> Any:
        return self._error.trailing_metadata()
