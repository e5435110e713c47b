"""Who may call what is decided before a method is reached, and told with code, sentence and details."""

import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from linnaeus.server.errors import StartupError
from linnaeus.server.rpc.interceptor import InterceptedServer, Method
from linnaeus.server.rpc.status import PUSHBACK_KEY
from linnaeus.server.security.authorization import Authorizer, TokenFile, required_right
from linnaeus.server.security.rate_limit import RateLimiter
from linnaeus.server.security.tokens import Right
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

INFER = "infer-token-0123456789"
ADMIN = "admin-token-0123456789"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class CallCounts:
    """Counts the calls by code."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def call_started(self, method: Method) -> None:
        pass

    def call_handled(self, method: Method, code: str, seconds: float) -> None:
        self.codes.append(code)


class Servicer(v1_grpc.ClassifierServiceServicer):
    """Keeps how often it was reached."""

    reached = 0

    async def Classify(self, request: Any, context: Any) -> v1.ClassifyResponse:
        self.reached += 1
        return v1.ClassifyResponse()

    async def StreamClassify(self, request_iterator: Any, context: Any) -> AsyncIterator[v1.StreamClassifyResponse]:
        self.reached += 1
        async for request in request_iterator:
            yield v1.StreamClassifyResponse(correlation_id=request.correlation_id)


class Administrator:
    """A method of a service for administrators, by name; the contract's own comes with its release."""

    def __init__(self) -> None:
        self.reached = 0

    def add(self, server: Any) -> None:
        async def load(request: bytes, context: Any) -> bytes:
            self.reached += 1
            return b""

        server.add_registered_method_handlers(
            "linnaeus.v1.ModelService", {"LoadModel": grpc.unary_unary_rpc_method_handler(load)}
        )


class Wire:
    def __init__(self, channel: grpc.aio.Channel, servicer: Servicer, administrator: Administrator, clock: Clock):
        self.stub: Any = v1_grpc.ClassifierServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)
        self.load: Any = channel.unary_unary("/linnaeus.v1.ModelService/LoadModel")
        self.servicer, self.administrator, self.clock = servicer, administrator, clock

    async def refusal(self, call: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        return raised.value


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"camera infer {INFER}\nboss admin sha256:{hashlib.sha256(ADMIN.encode()).hexdigest()}\n")
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def _wire(authorizer: Authorizer, clock: Clock) -> AsyncIterator[Wire]:
    servicer, administrator, server = Servicer(), Administrator(), grpc.aio.server()
    watched: Any = InterceptedServer(server, CallCounts(), authorizer)
    v1_grpc.add_ClassifierServiceServicer_to_server(servicer, watched)
    servant = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servant, watched)
    administrator.add(watched)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Wire(channel, servicer, administrator, clock)
    await server.stop(None)


@pytest.fixture
async def wire(token_file: Path, clock: Clock) -> AsyncIterator[Wire]:
    async for made in _wire(Authorizer(TokenFile(str(token_file), clock), None), clock):
        yield made


@pytest.fixture
async def limited(token_file: Path, clock: Clock) -> AsyncIterator[Wire]:
    async for made in _wire(Authorizer(TokenFile(str(token_file), clock), RateLimiter(0.5, 2, clock)), clock):
        yield made


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@pytest.mark.parametrize(
    ("service", "method", "right"),
    [
        ("grpc.health.v1.Health", "Check", None),
        ("grpc.health.v1.Health", "Watch", None),
        ("linnaeus.v1.ClassifierService", "Classify", Right.INFER),
        ("linnaeus.v1.ClassifierService", "ListModels", Right.INFER),
        ("linnaeus.v1.ModelService", "AnyMethod", Right.ADMIN),
        ("inference.GRPCInferenceService", "ModelInfer", Right.INFER),
        ("inference.GRPCInferenceService", "RepositoryIndex", Right.INFER),
        ("inference.GRPCInferenceService", "RepositoryModelLoad", Right.ADMIN),
        ("inference.GRPCInferenceService", "RepositoryModelUnload", Right.ADMIN),
        ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", Right.INFER),
        ("a.service.to.Come", "Anything", Right.INFER),
    ],
)
def test_each_method_needs_its_right(service: str, method: str, right: Right | None) -> None:
    assert required_right(service, method) == right


async def test_the_right_token_reaches_the_method(wire: Wire) -> None:
    await wire.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))
    await wire.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(ADMIN))
    await wire.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=(("authorization", f"bEARER  {INFER} "),))
    await wire.load(b"", timeout=10, metadata=bearer(ADMIN))
    stream = wire.stub.StreamClassify(iter([v1.StreamClassifyRequest(correlation_id=7)]), metadata=bearer(INFER))
    assert [each.correlation_id async for each in stream] == [7]
    assert (wire.servicer.reached, wire.administrator.reached) == (4, 1)


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        bearer("wrong-token-0123456789"),
        bearer(INFER[:-1]),
        bearer(INFER + "0"),
        bearer(""),
        (("authorization", INFER),),
        (("authorization", f"Basic {INFER}"),),
        (("authorization", "Bearer"),),
        bearer(INFER) + bearer(ADMIN),
        (("x-authorization", f"Bearer {INFER}"),),
        (("authorization-bin", f"Bearer {INFER}".encode()),),
        bearer(hashlib.sha256(ADMIN.encode()).hexdigest()),
        bearer(f"sha256:{hashlib.sha256(ADMIN.encode()).hexdigest()}"),
    ],
)
async def test_without_a_known_token_nothing_is_reached(wire: Wire, metadata: Any) -> None:
    refused = await wire.refusal(wire.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=metadata))
    stream = wire.stub.StreamClassify(iter([v1.StreamClassifyRequest()]), timeout=10, metadata=metadata)
    also_refused = await wire.refusal(stream.read())
    assert refused.code() is also_refused.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "token" in str(refused.details()) and INFER not in str(refused.details())
    detail = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(refused)
    assert status is not None and status.details[0].Unpack(detail)
    assert (detail.reason, detail.domain, dict(detail.metadata)) == ("TOKEN_NEEDED", "linnaeus", {"scheme": "Bearer"})
    assert wire.servicer.reached == 0


async def test_a_token_to_infer_is_not_one_to_administrate(wire: Wire) -> None:
    refused = await wire.refusal(wire.load(b"", timeout=10, metadata=bearer(INFER)))
    assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
    assert refused.details() == "this call needs the right admin, which camera does not have"
    assert wire.administrator.reached == 0


async def test_anybody_may_ask_for_the_health_as_often_as_they_like(limited: Wire) -> None:
    for _ in range(10):
        answer = await limited.health.Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_tokens_are_read_again_when_the_file_changes(
    wire: Wire, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    token_file.write_text("camera infer new-token-0123456789\n")
    await wire.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))  # not looked at so soon
    wire.clock.now += 1.0
    refused = await wire.refusal(wire.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER)))
    assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    await wire.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer("new-token-0123456789"))
    token_file.write_text("camera infer new-token-0123456789 SECRET-WORD\n")
    wire.clock.now += 1.0
    await wire.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer("new-token-0123456789"))
    assert "line 1 has 4 words" in caplog.text and "the old tokens hold" in caplog.text
    assert "SECRET" not in caplog.text and "new-token" not in caplog.text


async def test_a_caller_beyond_its_rate_is_told_the_true_wait_and_others_are_not_touched(limited: Wire) -> None:
    for _ in range(2):
        await limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))
    refused = await limited.refusal(limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER)))
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    detail = error_details_pb2.RetryInfo()
    status = rpc_status.from_call(refused)
    assert status is not None and status.details[0].Unpack(detail) and detail.retry_delay.ToMilliseconds() == 2000
    assert (PUSHBACK_KEY, "2000") in tuple(refused.trailing_metadata())
    await limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(ADMIN))
    assert limited.servicer.reached == 3
    limited.clock.now += 2.0
    await limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))


async def test_one_that_has_no_time_to_wait_is_told_not_to(limited: Wire) -> None:
    for _ in range(2):
        await limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))
    refused = await limited.refusal(limited.stub.Classify(v1.ClassifyRequest(), timeout=1.9, metadata=bearer(INFER)))
    assert (PUSHBACK_KEY, "-1") in tuple(refused.trailing_metadata())


async def test_wrong_tokens_are_at_nobody_s_cost(limited: Wire) -> None:
    for _ in range(5):
        metadata = bearer("wrong-token-0123456789")
        refused = await limited.refusal(limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=metadata))
        assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    await limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))


async def test_a_batch_is_charged_for_its_pictures(token_file: Path, clock: Clock) -> None:
    class Batches(Servicer):
        async def ClassifyBatch(self, request: Any, context: Any) -> v1.ClassifyBatchResponse:
            authorizer.charge(context, len(request.images) - 1)
            return v1.ClassifyBatchResponse()

    authorizer, servicer, server = Authorizer(None, RateLimiter(1, 4, clock)), Batches(), grpc.aio.server()
    v1_grpc.add_ClassifierServiceServicer_to_server(servicer, InterceptedServer(server, CallCounts(), authorizer))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = v1_grpc.ClassifierServiceStub(channel)
        three = v1.ClassifyBatchRequest(images=[v1.Image()] * 3)
        await stub.ClassifyBatch(three, timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ClassifyBatch(three, timeout=30)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await server.stop(None)


def test_a_token_file_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="nowhere cannot be used: No such file"):
        TokenFile(str(tmp_path / "nowhere"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(StartupError, match="empty cannot be used: it holds no token"):
        TokenFile(str(tmp_path / "empty"))


def test_no_authorizer_leaves_a_method_as_it_is() -> None:
    class Adding:
        def add_generic_rpc_handlers(self, handlers: Any) -> None:
            self.handler = handlers[0]

    plain, authorized = Adding(), Adding()
    for adding, authorizer in ((plain, None), (authorized, Authorizer(None, None))):
        watched: Any = InterceptedServer(adding, CallCounts(), authorizer)  # type: ignore[arg-type]
        v1_grpc.add_ClassifierServiceServicer_to_server(Servicer(), watched)
    names = []
    for adding in (plain, authorized):
        handler: Any = adding.handler._method_handlers["/linnaeus.v1.ClassifierService/Classify"].unary_unary
        names.append({cell.cell_contents.__qualname__ for cell in handler.__closure__ if callable(cell.cell_contents)})
    assert "Servicer.Classify" in names[0] and "Servicer.Classify" not in names[1]
