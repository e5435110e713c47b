"""Batches and streams through a real server: each image once, bounded buffering, and no loss when the server stops."""

import asyncio
import re
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from queue import SimpleQueue

import grpc
import pytest
from tests.e2e.callers import serving, wait_for_metric
from tests.e2e.event_log import EventLog
from tests.e2e.synthetic_models import picture, write_model

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

WINDOW = 16
IMAGES = 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a fast model, a slow model, and one for the last test."""
    made = tmp_path_factory.mktemp("streaming_server")
    write_model(made / "models", "quick", config="max_batch_size = 4\n")
    write_model(made / "models", "slow", 0.01, config="max_batch_size = 2\n")
    write_model(made / "models", "last", 0.002, config="max_batch_size = 2\n")
    return made


@pytest.fixture(scope="module")
def streaming_server(folder: Path) -> Iterator[ServerProcess]:
    with serving(folder, "--stream-window", str(WINDOW), "--drain-seconds", "100") as server:
        yield server


def stream_request(number: int, model: str = "quick", image_id: str = "") -> v1.StreamClassifyRequest:
    image = picture(bytes([number % 251] * 64))
    image.id = image_id
    return v1.StreamClassifyRequest(correlation_id=number, image=image, model=model)


def best(result: v1.ImageResult) -> tuple[int, float]:
    top = result.classification.classes[0]
    return top.index, round(top.probability, 4)


@pytest.mark.slow
def test_each_of_ten_thousand_images_in_a_stream_is_answered_once(server: ServerProcess, pictures: Path) -> None:
    digits = {path.stem: path.read_bytes() for path in sorted((pictures / "digits").glob("*.png"))}
    labels = sorted(digits)
    seen: dict[int, str] = {}

    def requests() -> Iterator[v1.StreamClassifyRequest]:
        for number in range(IMAGES):
            label = labels[number % len(labels)]
            image = v1.Image(encoded=digits[label], id=label)
            yield v1.StreamClassifyRequest(correlation_id=number, image=image, model="lenet", top_k=1)

    with grpc.insecure_channel(server.target) as channel:
        for answer in ClassifierServiceStub(channel).StreamClassify(requests(), timeout=100):
            assert answer.correlation_id not in seen
            assert answer.result.image_id == labels[answer.correlation_id % len(labels)]
            seen[answer.correlation_id] = answer.result.classification.classes[0].label
    assert len(seen) == IMAGES
    wrong = [number for number, label in seen.items() if not labels[number % len(labels)].startswith(label)]
    assert not wrong


async def test_batch_stream_and_single_calls_return_the_same_answer(streaming_server: ServerProcess) -> None:
    async with grpc.aio.insecure_channel(streaming_server.target) as channel:
        stub = ClassifierServiceStub(channel)
        images = [stream_request(number).image for number in range(20)]
        batch = await stub.ClassifyBatch(v1.ClassifyBatchRequest(images=images, model="quick"), timeout=30)
        stream = {
            each.correlation_id: each.result async for each in stub.StreamClassify(map(stream_request, range(20)))
        }
        for number, image in enumerate(images):
            alone = await stub.Classify(v1.ClassifyRequest(image=image, model="quick"), timeout=30)
            expected = alone.classes[0].index, round(alone.classes[0].probability, 4)
            assert best(batch.results[number]) == best(stream[number]) == expected


async def test_a_stream_that_is_not_read_is_not_drained_and_loses_no_answer(streaming_server: ServerProcess) -> None:
    count, long_id = 400, "x" * 100_000  # answers contain the ids, so they are as large as the requests
    sent = 0

    async def requests() -> AsyncIterator[v1.StreamClassifyRequest]:
        nonlocal sent
        for number in range(count):
            sent += 1
            yield stream_request(number, image_id=long_id)

    before = _answered(streaming_server)
    async with grpc.aio.insecure_channel(streaming_server.target) as channel:
        call = ClassifierServiceStub(channel).StreamClassify(requests(), timeout=100)
        answered = await answered_when_still(streaming_server, before + WINDOW)
        assert answered - before <= 4 * WINDOW, "more images were answered than the window and gRPC's buffers hold"
        assert sent < count
        seen = [answer.correlation_id async for answer in call]
    assert sorted(seen) == list(range(count))


async def answered_when_still(server: ServerProcess, least: float) -> float:
    """Returns the number of answered images once it stops growing; on a slow machine this may be too early."""
    answered = -1.0
    while (now := await asyncio.to_thread(_answered, server)) != answered or now < least:
        answered = now
        await asyncio.sleep(0.3)
    return answered


def _answered(server: ServerProcess) -> float:
    with urllib.request.urlopen(server.metrics_url, timeout=30) as page:
        samples = re.findall(r"^linnaeus_request_seconds_count{.*quick.*} (\S+)$", page.read().decode(), re.MULTILINE)
    return sum(map(float, samples))


async def test_cancelling_a_batch_and_a_stream_removes_their_requests(streaming_server: ServerProcess) -> None:
    async with grpc.aio.insecure_channel(streaming_server.target) as channel:
        stub = ClassifierServiceStub(channel)
        batch = stub.ClassifyBatch(v1.ClassifyBatchRequest(images=[picture()] * 200, model="slow"))
        stream = stub.StreamClassify(stream_request(number, "slow") for number in range(1000))
        waiting = asyncio.create_task(expect_cancelled(batch))
        await asyncio.to_thread(wait_for_metric, streaming_server, "linnaeus_in_flight", lambda count: count > 100)
        batch.cancel()
        stream.cancel()
        await waiting
        await asyncio.to_thread(wait_for_metric, streaming_server, "linnaeus_in_flight", lambda count: count == 0)


async def expect_cancelled(call: object) -> None:
    with pytest.raises(asyncio.CancelledError):
        await call  # type: ignore[misc]


async def test_a_batch_with_a_short_deadline_answers_as_many_images_as_it_can(streaming_server: ServerProcess) -> None:
    async with grpc.aio.insecure_channel(streaming_server.target) as channel:
        stub = ClassifierServiceStub(channel)
        images = [picture()] * 200  # two seconds of work on one core
        answered, codes = 0, set()
        while not answered:  # on a stalled machine no image may be in time; the test's timeout bounds the retries
            reply = await _in_time(
                stub.ClassifyBatch(v1.ClassifyBatchRequest(images=images, model="slow"), timeout=0.7)
            )
            codes = {result.error.code for result in reply.results if result.WhichOneof("outcome") == "error"}
            answered = sum(result.WhichOneof("outcome") == "classification" for result in reply.results)
    assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED.value[0]} and answered < 200


async def _in_time(call: Awaitable[v1.ClassifyBatchResponse]) -> v1.ClassifyBatchResponse:
    """Returns the response; an empty one if the deadline passed on the way."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return v1.ClassifyBatchResponse()


def test_a_stopping_server_loses_no_answer_of_a_stream_and_ends_it(
    folder: Path, streaming_server: ServerProcess
) -> None:
    answered: list[int] = []
    with grpc.insecure_channel(streaming_server.target) as channel:
        stub = ClassifierServiceStub(channel)
        idle_questions: SimpleQueue[v1.StreamClassifyRequest] = SimpleQueue()
        idle = stub.StreamClassify(iter(idle_questions.get, None))
        idle_questions.put(stream_request(0))
        assert next(idle).correlation_id == 0
        # Not with grpc.aio, whose client may report INTERNAL if a stream ends while it is sending.
        with pytest.raises(grpc.RpcError) as ended:
            for answer in stub.StreamClassify(stream_request(number, "last") for number in range(100_000)):
                assert answer.result.WhichOneof("outcome") == "classification", answer
                answered.append(answer.correlation_id)
                if len(answered) == 20:
                    streaming_server.child.terminate()
        assert ended.value.code() is idle.code() is grpc.StatusCode.UNAVAILABLE
        idle_questions.put(None)  # type: ignore[arg-type]
        assert streaming_server.child.wait(60) == 0
    event_log = EventLog(folder / "trace")
    event_log.check()
    own = Counter(event_log.ended[number]["outcome"] for number in event_log.requests("last"))
    assert own == {"answered": len(set(answered))} and len(answered) == len(set(answered))
