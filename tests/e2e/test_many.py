"""Batches and streams through a real server: everything once, bounded, and nothing lost where the server stops."""

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
from tests.e2e.fragile import picture, write_model
from tests.e2e.tracing import Trace

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

WINDOW = 16
IMAGES = 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a model that is quick, one that is slow, and one for the end."""
    made = tmp_path_factory.mktemp("many")
    write_model(made / "models", "quick", config="max_batch_size = 4\n")
    write_model(made / "models", "slow", 0.01, config="max_batch_size = 2\n")
    write_model(made / "models", "last", 0.002, config="max_batch_size = 2\n")
    return made


@pytest.fixture(scope="module")
def many(folder: Path) -> Iterator[ServerProcess]:
    with serving(folder, "--stream-window", str(WINDOW), "--drain-seconds", "100") as server:
        yield server


def asking(number: int, model: str = "quick", image_id: str = "") -> v1.StreamClassifyRequest:
    image = picture(bytes([number % 251] * 64))
    image.id = image_id
    return v1.StreamClassifyRequest(correlation_id=number, image=image, model=model)


def best(result: v1.ImageResult) -> tuple[int, float]:
    top = result.classification.classes[0]
    return top.index, round(top.probability, 4)


def test_a_stream_of_ten_thousand_images_is_answered_once_each(server: ServerProcess, pictures: Path) -> None:
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


async def test_batch_stream_and_single_answers_to_a_picture_are_the_same(many: ServerProcess) -> None:
    async with grpc.aio.insecure_channel(many.target) as channel:
        stub = ClassifierServiceStub(channel)
        images = [asking(number).image for number in range(20)]
        batch = await stub.ClassifyBatch(v1.ClassifyBatchRequest(images=images, model="quick"), timeout=30)
        stream = {each.correlation_id: each.result async for each in stub.StreamClassify(map(asking, range(20)))}
        for number, image in enumerate(images):
            alone = await stub.Classify(v1.ClassifyRequest(image=image, model="quick"), timeout=30)
            expected = alone.classes[0].index, round(alone.classes[0].probability, 4)
            assert best(batch.results[number]) == best(stream[number]) == expected


async def test_a_caller_that_stops_reading_is_not_read_either_and_gets_all_when_it_reads(many: ServerProcess) -> None:
    count, bulk = 400, "x" * 100_000  # the ids come back: answers as large as the images
    sent = 0

    async def requests() -> AsyncIterator[v1.StreamClassifyRequest]:
        nonlocal sent
        for number in range(count):
            sent += 1
            yield asking(number, image_id=bulk)

    before = _answered(many)
    async with grpc.aio.insecure_channel(many.target) as channel:
        call = ClassifierServiceStub(channel).StreamClassify(requests(), timeout=100)
        taken = await _until_still(many, before + WINDOW)
        assert taken - before <= 4 * WINDOW, "what is beyond the window is in the transport's own buffers"
        assert sent < count
        seen = [answer.correlation_id async for answer in call]
    assert sorted(seen) == list(range(count))


async def _until_still(server: ServerProcess, least: float) -> float:
    """How many images the server has answered once it answers no more; a slow machine may say so too early."""
    taken = -1.0
    while (now := await asyncio.to_thread(_answered, server)) != taken or now < least:
        taken = now
        await asyncio.sleep(0.3)
    return taken


def _answered(server: ServerProcess) -> float:
    with urllib.request.urlopen(server.metrics_url, timeout=30) as page:
        samples = re.findall(r"^linnaeus_request_seconds_count{.*quick.*} (\S+)$", page.read().decode(), re.MULTILINE)
    return sum(map(float, samples))


async def test_a_cancelled_batch_and_a_cancelled_stream_leave_nothing_in_the_server(many: ServerProcess) -> None:
    async with grpc.aio.insecure_channel(many.target) as channel:
        stub = ClassifierServiceStub(channel)
        batch = stub.ClassifyBatch(v1.ClassifyBatchRequest(images=[picture()] * 200, model="slow"))
        stream = stub.StreamClassify(asking(number, "slow") for number in range(1000))
        waiting = asyncio.create_task(_gone(batch))
        await asyncio.to_thread(wait_for_metric, many, "linnaeus_in_flight", lambda count: count > 100)
        batch.cancel()
        stream.cancel()
        await waiting
        await asyncio.to_thread(wait_for_metric, many, "linnaeus_in_flight", lambda count: count == 0)


async def _gone(call: object) -> None:
    with pytest.raises(asyncio.CancelledError):
        await call  # type: ignore[misc]


async def test_a_batch_whose_time_is_too_short_for_all_answers_those_that_it_can(many: ServerProcess) -> None:
    async with grpc.aio.insecure_channel(many.target) as channel:
        stub = ClassifierServiceStub(channel)
        images = [picture()] * 200  # two seconds of work for one core
        answered, codes = 0, set()
        while not answered:  # a machine that stands still for so long can answer none; the test's time limit ends it
            reply = await _in_time(
                stub.ClassifyBatch(v1.ClassifyBatchRequest(images=images, model="slow"), timeout=0.7)
            )
            codes = {result.error.code for result in reply.results if result.WhichOneof("outcome") == "error"}
            answered = sum(result.WhichOneof("outcome") == "classification" for result in reply.results)
    assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED.value[0]} and answered < 200


async def _in_time(call: Awaitable[v1.ClassifyBatchResponse]) -> v1.ClassifyBatchResponse:
    """The reply; an empty one where its time ran out on the way."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return v1.ClassifyBatchResponse()


def test_a_server_that_stops_loses_no_answer_of_a_stream_and_does_not_wait_for_its_end(
    folder: Path, many: ServerProcess
) -> None:
    answered: list[int] = []
    with grpc.insecure_channel(many.target) as channel:
        stub = ClassifierServiceStub(channel)
        idle_questions: SimpleQueue[v1.StreamClassifyRequest] = SimpleQueue()
        idle = stub.StreamClassify(iter(idle_questions.get, None))
        idle_questions.put(asking(0))
        assert next(idle).correlation_id == 0
        # Not grpc.aio's client, which may say INTERNAL where a stream ends while it is sending.
        with pytest.raises(grpc.RpcError) as ended:
            for answer in stub.StreamClassify(asking(number, "last") for number in range(100_000)):
                assert answer.result.WhichOneof("outcome") == "classification", answer
                answered.append(answer.correlation_id)
                if len(answered) == 20:
                    many.child.terminate()
        assert ended.value.code() is idle.code() is grpc.StatusCode.UNAVAILABLE
        idle_questions.put(None)  # type: ignore[arg-type]
        assert many.child.wait(60) == 0
    trace = Trace(folder / "trace")
    trace.check()
    own = Counter(trace.ended[number]["outcome"] for number in trace.requests("last"))
    assert own == {"answered": len(set(answered))} and len(answered) == len(set(answered))
