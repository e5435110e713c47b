"""The service over a real connection: what a caller sends reaches the engine, and what the engine knows is told."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.model_store.catalog import Entry, ModelState
from linnaeus.server.requests.request import Classification, Priority, Request
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.interceptor import InterceptedServer, Method
from linnaeus.server.runtime.model import Ranking
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

DIGIT = v1.Image(pixels=v1.RawPixels(data=bytes(28 * 28), height=28, width=28, channels=1))


class NullCallObserver:
    """Nobody listens to calls here."""

    def call_started(self, method: Method) -> None:
        pass

    def call_handled(self, method: Method, code: str, seconds: float) -> None:
        pass


class RecordingEngine:
    """Stands in for the engine: keeps the requests that reach it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def classify(self, request: Request) -> Classification:
        self.requests.append(request)
        return Classification(Ranking([], []), [], "m", 3, 1, 0.0, 0.0, 0.0)


async def _serve(
    engine: Any, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[v1_grpc.ClassifierServiceStub]:
    server = grpc.aio.server()
    servicer = ClassifierServicer(engine, v1.ServerLimits(), "0", clock)
    v1_grpc.add_ClassifierServiceServicer_to_server(servicer, InterceptedServer(server, NullCallObserver()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield v1_grpc.ClassifierServiceStub(channel)
    await server.stop(None)


@pytest.fixture
def recording_engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
async def stub(recording_engine: RecordingEngine) -> AsyncIterator[Any]:
    async for made in _serve(recording_engine, clock=lambda: 1000.0):
        yield made


@pytest.fixture
async def engine(repository: Path, observer: Any) -> AsyncIterator[Engine]:
    made = Engine(Settings(repository=repository, models="lenet", device="cpu", max_batch_size=2), observer)
    await made.load()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (v1.PRIORITY_HIGH, Priority.HIGH),
        (v1.PRIORITY_NORMAL, Priority.NORMAL),
        (v1.PRIORITY_LOW, Priority.LOW),
        (v1.PRIORITY_UNSPECIFIED, Priority.NORMAL),
        (77, Priority.NORMAL),
    ],
)
async def test_a_priority_reaches_the_engine(
    stub: Any, recording_engine: RecordingEngine, sent: Any, meant: Priority
) -> None:
    await stub.Classify(v1.ClassifyRequest(image=DIGIT, priority=sent), timeout=30)
    assert recording_engine.requests[0].priority is meant


async def test_a_deadline_reaches_the_engine_in_its_own_time(stub: Any, recording_engine: RecordingEngine) -> None:
    await stub.Classify(v1.ClassifyRequest(image=DIGIT), timeout=600)
    await stub.Classify(v1.ClassifyRequest(image=DIGIT))
    limited, unlimited = (request.deadline for request in recording_engine.requests)
    assert limited is not None and 1300.0 < limited <= 1602.0  # gRPC sends a long timeout in whole seconds, rounded up
    assert unlimited is None


async def test_what_is_known_of_latencies_and_predictions_is_told(engine: Engine) -> None:
    async for stub in _serve(engine):
        await stub.Classify(v1.ClassifyRequest(image=DIGIT, model="lenet"), timeout=30)
        told = await stub.GetModel(v1.GetModelRequest(model="lenet"), timeout=30)
        assert [(each.device, each.batch_size) for each in told.batch_latencies] == [("cpu", 1), ("cpu", 2)]
        assert all(0 < each.seconds < 30 for each in told.batch_latencies)
        assert told.HasField("prediction_error")
        assert list(told.model.devices) == ["cpu"] and told.model.max_batch_size == 2


async def test_of_a_version_that_is_not_ready_no_latency_is_told(engine: Engine) -> None:
    engine.catalog.put(Entry("broken", 1, ModelState.FAILED, "no"))
    async for stub in _serve(engine):
        told = await stub.GetModel(v1.GetModelRequest(model="broken"), timeout=30)
        assert not told.batch_latencies and not told.HasField("prediction_error")
        assert told.model.state == v1.MODEL_STATE_FAILED
