"""ClassifyBatch over a real connection: a result or an error for each image, or one status for the call."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.errors import InternalFailure, Overloaded
from linnaeus.server.requests.request import Priority, Request
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.interceptor import InterceptedServer
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

LIMITS = v1.ServerLimits(max_batch_images=5)
PIXELS = v1.RawPixels(data=bytes(28 * 28), height=28, width=28, channels=1)


class NullCallObserver:
    """Nobody listens to calls here."""

    def call_started(self, method: Any) -> None:
        pass

    def call_handled(self, method: Any, code: str, seconds: float) -> None:
        pass


class RecordingEngine:
    """Stands in for the engine: keeps the requests that reach it, and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.outcomes: list[Any] = []
        self.error: Exception | None = None

    async def classify_many(self, requests: list[Request]) -> list[Any]:
        self.requests = requests
        if self.error is not None:
            raise self.error
        return self.outcomes


async def serve(engine: Any, clock: Callable[[], float]) -> AsyncIterator[Any]:
    server = grpc.aio.server()
    servicer = ClassifierServicer(engine, LIMITS, "0", clock)
    v1_grpc.add_ClassifierServiceServicer_to_server(servicer, InterceptedServer(server, NullCallObserver()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield v1_grpc.ClassifierServiceStub(channel)
    await server.stop(None)


@pytest.fixture
def engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
async def stub(engine: RecordingEngine) -> AsyncIterator[Any]:
    async for made in serve(engine, lambda: 1000.0):
        yield made


@pytest.fixture
async def real(repository: Path, observer: Any) -> AsyncIterator[Any]:
    engine = Engine(Settings(repository=repository, models="lenet", device="cpu", max_batch_size=2), observer)
    await engine.load()
    async for made in serve(engine, time.monotonic):
        yield made
    await engine.close()


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def test_each_image_has_its_result_at_its_place_with_its_id(real: Any) -> None:
    images = [
        v1.Image(pixels=PIXELS, id="first"),
        v1.Image(encoded=b"no picture", id="bad"),
        v1.Image(id="empty"),
        v1.Image(pixels=PIXELS),
    ]
    answer = await real.ClassifyBatch(v1.ClassifyBatchRequest(images=images, top_k=3), timeout=30)
    assert (answer.model, answer.version) == ("lenet", 1)
    assert [result.image_id for result in answer.results] == ["first", "bad", "empty", ""]
    assert [result.WhichOneof("outcome") for result in answer.results] == [
        "classification",
        "error",
        "error",
        "classification",
    ]
    alone = await real.Classify(v1.ClassifyRequest(image=images[0], top_k=3), timeout=30)
    first = answer.results[0].classification
    assert [each.label for each in first.classes] == [each.label for each in alone.classes]
    assert first.batch_size >= 1 and first.timings.inference_seconds > 0


async def test_an_images_error_is_what_the_call_for_it_alone_would_have_said(real: Any) -> None:
    image = v1.Image(encoded=b"no picture")
    error = (await real.ClassifyBatch(v1.ClassifyBatchRequest(images=[image]), timeout=30)).results[0].error
    alone = rpc_status.from_call(await refusal(real.Classify(v1.ClassifyRequest(image=image), timeout=30)))
    assert alone is not None and alone.details
    assert (error.code, error.message, list(error.details)) == (alone.code, alone.message, list(alone.details))


async def test_a_failed_image_names_the_reference_in_the_log(stub: Any, engine: RecordingEngine) -> None:
    engine.outcomes = [InternalFailure("the model failed (log reference abc)", "abc")]
    request = v1.ClassifyBatchRequest(images=[v1.Image(pixels=PIXELS)])
    error = (await stub.ClassifyBatch(request, timeout=30)).results[0].error
    detail = error_details_pb2.ErrorInfo()
    assert error.code == grpc.StatusCode.INTERNAL.value[0] and error.details[0].Unpack(detail)
    assert detail.metadata["reference"] == "abc"


@pytest.mark.parametrize("count", [0, 6])
async def test_no_image_or_too_many_fail_the_call_before_any_work(
    stub: Any, engine: RecordingEngine, count: int
) -> None:
    request = v1.ClassifyBatchRequest(images=[v1.Image(pixels=PIXELS)] * count)
    error = await refusal(stub.ClassifyBatch(request, timeout=30))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT and "from 1 to 5" in (error.details() or "")
    status, detail = rpc_status.from_call(error), error_details_pb2.BadRequest()
    assert status is not None and status.details[0].Unpack(detail)
    assert detail.field_violations[0].field == "images" and not engine.requests


async def test_a_call_that_was_refused_whole_has_the_status_and_the_pushback_of_a_single_one(
    stub: Any, engine: RecordingEngine
) -> None:
    engine.error = Overloaded("full", 0.25)
    error = await refusal(stub.ClassifyBatch(v1.ClassifyBatchRequest(images=[v1.Image(pixels=PIXELS)]), timeout=30))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("grpc-retry-pushback-ms", "250") in tuple(error.trailing_metadata() or ())


async def test_what_is_asked_of_the_call_is_asked_of_each_image(stub: Any, engine: RecordingEngine) -> None:
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
