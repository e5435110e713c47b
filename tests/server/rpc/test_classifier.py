"""ClassifierService over a real connection: requests reach the engine, and GetModel describes versions."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.server.rpc.served_classifier import served

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.model_store.catalog import Entry, ModelState
from linnaeus.server.requests.request import Classification, Priority, Request
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.runtime.model import Ranking
from linnaeus.v1 import classifier_pb2 as v1

DIGIT = v1.Image(pixels=v1.RawPixels(data=bytes(28 * 28), height=28, width=28, channels=1))


class RecordingEngine:
    """A stand-in for the engine that records its requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def classify(self, request: Request) -> Classification:
        self.requests.append(request)
        return Classification(Ranking([], []), [], "m", 3, 1, 0.0, 0.0, 0.0)


def serve(engine: Any, clock: Callable[[], float] = time.monotonic) -> AbstractAsyncContextManager[Any]:
    return served(ClassifierServicer(engine, v1.ServerLimits(), "0", clock))


@pytest.fixture
def recording_engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
async def stub(recording_engine: RecordingEngine) -> AsyncIterator[Any]:
    async with serve(recording_engine, clock=lambda: 1000.0) as client_stub:
        yield client_stub


@pytest.fixture
async def engine(repository: Path, observer: Any) -> AsyncIterator[LocalEngine]:
    loaded_engine = LocalEngine(
        Settings(repository=repository, models="lenet", device="cpu", max_batch_size=2), observer
    )
    await loaded_engine.load()
    yield loaded_engine
    await loaded_engine.close()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (v1.PRIORITY_HIGH, Priority.HIGH),
        (v1.PRIORITY_NORMAL, Priority.NORMAL),
        (v1.PRIORITY_LOW, Priority.LOW),
        (v1.PRIORITY_UNSPECIFIED, Priority.NORMAL),
        (77, Priority.NORMAL),
    ],
)
async def test_a_priority_reaches_the_engine(
    stub: Any, recording_engine: RecordingEngine, sent: Any, expected: Priority
) -> None:
    await stub.Classify(v1.ClassifyRequest(image=DIGIT, priority=sent), timeout=30)
    assert recording_engine.requests[0].priority is expected


async def test_a_deadline_reaches_the_engine_on_the_engine_s_clock(
    stub: Any, recording_engine: RecordingEngine
) -> None:
    await stub.Classify(v1.ClassifyRequest(image=DIGIT), timeout=600)
    await stub.Classify(v1.ClassifyRequest(image=DIGIT))
    limited, unlimited = (request.deadline for request in recording_engine.requests)
    assert limited is not None and 1300.0 < limited <= 1602.0  # gRPC sends a long timeout in whole seconds, rounded up
    assert unlimited is None


async def test_get_model_returns_batch_latencies_and_the_prediction_error(engine: LocalEngine) -> None:
    async with serve(engine) as stub:
        await stub.Classify(v1.ClassifyRequest(image=DIGIT, model="lenet"), timeout=30)
        response = await stub.GetModel(v1.GetModelRequest(model="lenet"), timeout=30)
        assert [(each.device, each.batch_size) for each in response.batch_latencies] == [("cpu", 1), ("cpu", 2)]
        assert all(0 < each.seconds < 30 for each in response.batch_latencies)
        assert response.HasField("prediction_error")
        assert list(response.model.devices) == ["cpu"] and response.model.max_batch_size == 2


async def test_get_model_returns_no_latencies_for_a_version_that_is_not_ready(engine: LocalEngine) -> None:
    engine.catalog.put(Entry("broken", 1, ModelState.FAILED, "no"))
    async with serve(engine) as stub:
        response = await stub.GetModel(v1.GetModelRequest(model="broken"), timeout=30)
        assert not response.batch_latencies and not response.HasField("prediction_error")
        assert response.model.state == v1.MODEL_STATE_FAILED
