"""ClassifyBatch over a real connection: a result or an error for each image, or one status for the whole call."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.server.rpc.served_classifier import served

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.errors import InternalFailure, Overloaded
from linnaeus.server.requests.request import Priority, Request
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.v1 import classifier_pb2 as v1

LIMITS = v1.ServerLimits(max_batch_images=5)
PIXELS = v1.RawPixels(data=bytes(28 * 28), height=28, width=28, channels=1)


class RecordingEngine:
    """A stand-in for the engine that records its requests and returns set outcomes, or raises a set error."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.outcomes: list[Any] = []
        self.error: Exception | None = None

    async def classify_many(self, requests: list[Request]) -> list[Any]:
        self.requests = requests
        if self.error is not None:
            raise self.error
        return self.outcomes


def serve(engine: Any, clock: Callable[[], float]) -> AbstractAsyncContextManager[Any]:
    return served(ClassifierServicer(engine, LIMITS, "0", clock))


@pytest.fixture
def engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
async def stub(engine: RecordingEngine) -> AsyncIterator[Any]:
    async with serve(engine, lambda: 1000.0) as client_stub:
        yield client_stub


@pytest.fixture
async def engine_stub(repository: Path, observer: Any) -> AsyncIterator[Any]:
    engine = LocalEngine(Settings(repository=repository, models="lenet", device="cpu", max_batch_size=2), observer)
    await engine.load()
    async with serve(engine, time.monotonic) as client_stub:
        yield client_stub
    await engine.close()


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def test_each_image_has_its_result_at_its_index_with_its_id(engine_stub: Any) -> None:
    images = [
        v1.Image(pixels=PIXELS, id="first"),
        v1.Image(encoded=b"no picture", id="bad"),
        v1.Image(id="empty"),
        v1.Image(pixels=PIXELS),
    ]
    answer = await engine_stub.ClassifyBatch(v1.ClassifyBatchRequest(images=images, top_k=3), timeout=30)
    assert (answer.model, answer.version) == ("lenet", 1)
    assert [result.image_id for result in answer.results] == ["first", "bad", "empty", ""]
    assert [result.WhichOneof("outcome") for result in answer.results] == [
        "classification",
        "error",
        "error",
        "classification",
    ]
    single = await engine_stub.Classify(v1.ClassifyRequest(image=images[0], top_k=3), timeout=30)
    first = answer.results[0].classification
    assert [each.label for each in first.classes] == [each.label for each in single.classes]
    assert first.batch_size >= 1 and first.timings.inference_seconds > 0


async def test_an_image_s_error_equals_that_of_a_call_with_only_this_image(engine_stub: Any) -> None:
    image = v1.Image(encoded=b"no picture")
    error = (await engine_stub.ClassifyBatch(v1.ClassifyBatchRequest(images=[image]), timeout=30)).results[0].error
    single = rpc_status.from_call(await refusal(engine_stub.Classify(v1.ClassifyRequest(image=image), timeout=30)))
    assert single is not None and single.details
    assert (error.code, error.message, list(error.details)) == (single.code, single.message, list(single.details))


async def test_the_error_of_a_failed_image_contains_the_log_reference(stub: Any, engine: RecordingEngine) -> None:
    engine.outcomes = [InternalFailure("the model failed (log reference abc)", "abc")]
    request = v1.ClassifyBatchRequest(images=[v1.Image(pixels=PIXELS)])
    error = (await stub.ClassifyBatch(request, timeout=30)).results[0].error
    detail = error_details_pb2.ErrorInfo()
    assert error.code == grpc.StatusCode.INTERNAL.value[0] and error.details[0].Unpack(detail)
    assert detail.metadata["reference"] == "abc"


@pytest.mark.parametrize("count", [0, 6])
async def test_a_batch_without_images_or_with_too_many_does_not_reach_the_engine(
    stub: Any, engine: RecordingEngine, count: int
) -> None:
    request = v1.ClassifyBatchRequest(images=[v1.Image(pixels=PIXELS)] * count)
    error = await refusal(stub.ClassifyBatch(request, timeout=30))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT and "from 1 to 5" in (error.details() or "")
    status, detail = rpc_status.from_call(error), error_details_pb2.BadRequest()
    assert status is not None and status.details[0].Unpack(detail)
    assert detail.field_violations[0].field == "images" and not engine.requests


async def test_a_refused_batch_has_the_status_and_the_pushback_of_a_single_call(
    stub: Any, engine: RecordingEngine
) -> None:
    engine.error = Overloaded("full", 0.25)
    error = await refusal(stub.ClassifyBatch(v1.ClassifyBatchRequest(images=[v1.Image(pixels=PIXELS)]), timeout=30))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("grpc-retry-pushback-ms", "250") in tuple(error.trailing_metadata() or ())


async def test_the_options_of_the_call_apply_to_each_image(stub: Any, engine: RecordingEngine) -> None:
    engine.outcomes = [Overloaded("full", 0.25)] * 2
    request = v1.ClassifyBatchRequest(
        images=[v1.Image(pixels=PIXELS), v1.Image(encoded=b"x")],
        model="m",
        version="2",
        top_k=3,
        priority=v1.PRIORITY_HIGH,
    )
    await stub.ClassifyBatch(request, timeout=600)
    for each in engine.requests:
        assert (each.model, each.version, each.top_k, each.priority) == ("m", "2", 3, Priority.HIGH)
        assert each.deadline is not None and 1300.0 < each.deadline <= 1602.0 and each.caller.startswith("ipv4:")
    await stub.ClassifyBatch(request)
    assert [each.deadline for each in engine.requests] == [None, None]
