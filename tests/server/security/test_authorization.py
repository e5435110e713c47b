"""Calls are authorized and charged before their method runs; a refusal has a status code, a message and details."""

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
from tests.server.rpc.call_observers import NullCallObserver
from tests.server.rpc.served_classifier import served

from linnaeus.server.errors import StartupError
from linnaeus.server.requests.request import Classification, Request
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.interceptor import InterceptedServer
from linnaeus.server.rpc.status import PUSHBACK_KEY
from linnaeus.server.runtime.model import Ranking
from linnaeus.server.security.authorization import Authorizer, required_right
from linnaeus.server.security.charging import Charge, charging, no_charge
from linnaeus.server.security.rate_limit import RateLimiter
from linnaeus.server.security.token_file import TokenFile
from linnaeus.server.security.tokens import PRIORITY_NAMES, Right
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

INFER = "infer-token-0123456789"
ADMIN = "admin-token-0123456789"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Servicer(v1_grpc.ClassifierServiceServicer):
    """Counts the calls that reach it."""

    reached = 0

    async def Classify(self, request: Any, context: Any) -> v1.ClassifyResponse:
        self.reached += 1
        return v1.ClassifyResponse()

    async def StreamClassify(self, request_iterator: Any, context: Any) -> AsyncIterator[v1.StreamClassifyResponse]:
        self.reached += 1
        async for request in request_iterator:
            yield v1.StreamClassifyResponse(correlation_id=request.correlation_id)


class RecordingEngine:
    """Answers every request, and keeps them."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def classify(self, request: Request) -> Classification:
        self.requests.append(request)
        return Classification(Ranking([], []), [], "m", 1, 1, 0.0, 0.0, 0.0)

    async def classify_many(self, requests: list[Request]) -> list[Classification]:
        return [await self.classify(request) for request in requests]


class Administrator:
    """A service with one method that requires the right `admin`; counts the calls that reach it."""

    def __init__(self) -> None:
        self.reached = 0

    def add(self, server: Any) -> None:
        async def load(request: bytes, context: Any) -> bytes:
            self.reached += 1
            return b""

        server.add_registered_method_handlers(
            "linnaeus.v1.ModelService", {"LoadModel": grpc.unary_unary_rpc_method_handler(load)}
        )


class Client:
    def __init__(self, channel: grpc.aio.Channel, servicer: Servicer, administrator: Administrator, clock: Clock):
        self.stub: Any = v1_grpc.ClassifierServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)
        self.classify_by_stream: Any = channel.stream_unary("/linnaeus.v1.ClassifierService/Classify")
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


def charge_of(rate: float, burst: float, clock: Clock) -> Charge:
    limiter = RateLimiter(rate, burst, clock)

    async def take(caller: str, cost: float) -> float:
        return limiter.take(caller, cost)

    return charging(rate, take)


async def _serve(token_file: Path, clock: Clock, charge: Charge = no_charge) -> AsyncIterator[Client]:
    authorizer = Authorizer(TokenFile(str(token_file), clock))
    servicer, administrator, server = Servicer(), Administrator(), grpc.aio.server()
    intercepted: Any = InterceptedServer(server, NullCallObserver(), authorizer, charge=charge)
    v1_grpc.add_ClassifierServiceServicer_to_server(servicer, intercepted)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, intercepted)
    administrator.add(intercepted)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(channel, servicer, administrator, clock)
    await server.stop(None)


@pytest.fixture
async def client(token_file: Path, clock: Clock) -> AsyncIterator[Client]:
    async for connected_client in _serve(token_file, clock):
        yield connected_client


@pytest.fixture
async def limited(token_file: Path, clock: Clock) -> AsyncIterator[Client]:
    async for connected_client in _serve(token_file, clock, charge_of(0.5, 2, clock)):
        yield connected_client


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
        ("an.unknown.Service", "Anything", Right.INFER),
    ],
)
def test_each_method_requires_its_right(service: str, method: str, right: Right | None) -> None:
    assert required_right(service, method) == right


async def test_a_call_with_a_valid_token_reaches_its_method(client: Client) -> None:
    await client.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))
    await client.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(ADMIN))
    await client.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=(("authorization", f"bEARER  {INFER} "),))
    await client.load(b"", timeout=10, metadata=bearer(ADMIN))
    stream = client.stub.StreamClassify(iter([v1.StreamClassifyRequest(correlation_id=7)]), metadata=bearer(INFER))
    assert [each.correlation_id async for each in stream] == [7]
    assert (client.servicer.reached, client.administrator.reached) == (4, 1)


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
async def test_a_call_without_a_known_token_does_not_reach_its_method(client: Client, metadata: Any) -> None:
    refused = await client.refusal(client.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=metadata))
    # Without a message: gRPC's client sometimes reports the failure to send it in place of the refusal.
    stream = client.stub.StreamClassify(timeout=10, metadata=metadata)
    also_refused = await client.refusal(stream.read())
    assert refused.code() is also_refused.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "token" in str(refused.details()) and INFER not in str(refused.details())
    detail = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(refused)
    assert status is not None and status.details[0].Unpack(detail)
    assert (detail.reason, detail.domain, dict(detail.metadata)) == ("TOKEN_NEEDED", "linnaeus", {"scheme": "Bearer"})
    assert client.servicer.reached == 0


async def test_a_token_with_the_right_infer_cannot_call_admin_methods(client: Client) -> None:
    refused = await client.refusal(client.load(b"", timeout=10, metadata=bearer(INFER)))
    assert refused.code() is grpc.StatusCode.PERMISSION_DENIED
    assert refused.details() == "this call needs the right admin, which camera does not have"
    assert client.administrator.reached == 0


async def test_the_health_service_needs_no_token_and_has_no_rate_limit(limited: Client) -> None:
    for _ in range(10):
        answer = await limited.health.Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_tokens_are_reloaded_when_the_file_changes(
    client: Client, token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    token_file.write_text("camera infer new-token-0123456789\n")
    await client.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))  # not checked again yet
    client.clock.now += 1.0
    refused = await client.refusal(client.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER)))
    assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    await client.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer("new-token-0123456789"))
    token_file.write_text("camera infer new-token-0123456789 SECRET-WORD\n")
    client.clock.now += 1.0
    await client.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer("new-token-0123456789"))
    assert "line 1 has 4 words" in caplog.text and "the old tokens hold" in caplog.text
    assert "SECRET" not in caplog.text and "new-token" not in caplog.text


async def test_a_caller_above_its_rate_is_refused_with_the_exact_wait_and_others_are_not(
    limited: Client,
) -> None:
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


async def test_a_caller_whose_deadline_is_before_the_retry_is_told_not_to_retry(limited: Client) -> None:
    for _ in range(2):
        await limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))
    refused = await limited.refusal(limited.stub.Classify(v1.ClassifyRequest(), timeout=1.9, metadata=bearer(INFER)))
    assert (PUSHBACK_KEY, "-1") in tuple(refused.trailing_metadata())


async def test_calls_with_unknown_tokens_are_charged_to_no_caller(limited: Client) -> None:
    for _ in range(5):
        metadata = bearer("wrong-token-0123456789")
        refused = await limited.refusal(limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=metadata))
        assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
    await limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))


async def test_a_call_above_its_rate_is_refused_without_waiting_for_its_message(limited: Client) -> None:
    for _ in range(2):
        await limited.stub.Classify(v1.ClassifyRequest(), timeout=10, metadata=bearer(INFER))
    unsent = limited.classify_by_stream(timeout=10, metadata=bearer(INFER))
    assert await unsent.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_batch_is_charged_for_its_images(clock: Clock) -> None:
    engine, charge = RecordingEngine(), charge_of(1, 4, clock)
    servicer = ClassifierServicer(engine, v1.ServerLimits(max_batch_images=9), "0", charge=charge)  # type: ignore[arg-type]
    async with served(servicer, charge=charge) as stub:
        request = v1.ClassifyBatchRequest(images=[v1.Image(encoded=b"x")] * 3)
        await stub.ClassifyBatch(request, timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ClassifyBatch(request, timeout=30)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(engine.requests) == 3


@pytest.mark.parametrize(
    ("of_server", "of_token", "claimed", "given"),
    [
        ("high", "high", "high", "high"),
        ("high", "normal", "high", "normal"),
        ("low", "high", "high", "low"),
        ("normal", "low", "normal", "low"),
        ("high", "normal", "low", "low"),
    ],
)
async def test_a_claimed_priority_is_lowered_to_the_cap_of_server_and_token(
    tmp_path: Path, clock: Clock, of_server: str, of_token: str, claimed: str, given: str
) -> None:
    engine = RecordingEngine()
    (tmp_path / "tokens").write_text(f"camera infer {INFER} max_priority={of_token}\n")
    authorizer = Authorizer(TokenFile(str(tmp_path / "tokens"), clock), PRIORITY_NAMES[of_server])
    servicer = ClassifierServicer(engine, v1.ServerLimits(max_batch_images=9), "0")  # type: ignore[arg-type]
    async with served(servicer, authorizer=authorizer) as stub:
        claim = {"priority": f"PRIORITY_{claimed.upper()}"}
        image = v1.Image(encoded=b"x")
        await stub.Classify(v1.ClassifyRequest(image=image, **claim), metadata=bearer(INFER))
        await stub.ClassifyBatch(v1.ClassifyBatchRequest(images=[image], **claim), metadata=bearer(INFER))
    assert [request.priority.name.lower() for request in engine.requests] == [given, given]


@pytest.mark.parametrize("has_token", [True, False])
async def test_all_connections_of_a_token_are_one_caller_and_without_tokens_each_connection_is_one(
    tmp_path: Path, clock: Clock, has_token: bool
) -> None:
    engine = RecordingEngine()
    (tmp_path / "tokens").write_text(f"camera infer {INFER}\n")
    authorizer = Authorizer(TokenFile(str(tmp_path / "tokens"), clock) if has_token else None)
    servicer = ClassifierServicer(engine, v1.ServerLimits(max_batch_images=9), "0")  # type: ignore[arg-type]
    image = v1.Image(encoded=b"x")
    for _ in range(2):
        async with served(servicer, authorizer=authorizer) as stub:
            await stub.Classify(v1.ClassifyRequest(image=image), metadata=bearer(INFER))
            await stub.ClassifyBatch(v1.ClassifyBatchRequest(images=[image]), metadata=bearer(INFER))
    callers = [request.caller for request in engine.requests]
    assert len(callers) == 4
    assert callers[0] == callers[1] and callers[2] == callers[3]
    assert (callers[0] == callers[2]) is has_token


def test_an_invalid_token_file_is_a_startup_error(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="nowhere cannot be used: no such file or directory; correct the path$"):
        TokenFile(str(tmp_path / "nowhere"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(StartupError, match="empty cannot be used: it holds no token"):
        TokenFile(str(tmp_path / "empty"))
