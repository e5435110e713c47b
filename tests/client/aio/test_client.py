"""The asyncio client: requests and answers, and that it neither blocks the event loop nor fails to cancel calls."""

import asyncio
import io
import queue
import threading

import numpy
import pytest
from PIL import Image

from linnaeus.client import AsyncClient, InvalidImage
from linnaeus.v1 import classifier_pb2 as messages


@pytest.fixture
async def client(stub):
    async with AsyncClient(stub.target) as client:
        yield client


async def test_every_argument_arrives_and_the_answer_comes_back_whole(client, stub):
    result = await client.classify(b"a picture", model="lenet", version=2, top_k=1, image_id="cat 1")
    assert stub.requests == [
        messages.ClassifyRequest(
            image=messages.Image(encoded=b"a picture", id="cat 1"), model="lenet", version="2", top_k=1
        )
    ]
    assert (result.top.label, result.model, result.version, result.batch_size) == ("tabby, tabby cat", "lenet", 2, 4)


async def test_every_kind_of_image_arrives(client, stub, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"a file")
    array = numpy.arange(12, dtype=numpy.uint8).reshape(2, 2, 3)
    for image in (tmp_path / "cat.jpg", b"bytes", io.BytesIO(b"a file object"), array, Image.fromarray(array)):
        await client.classify(image)
    pixels = messages.RawPixels(data=array.tobytes(), height=2, width=2, channels=3)
    assert stub.images == [
        messages.Image(encoded=b"a file"),
        messages.Image(encoded=b"bytes"),
        messages.Image(encoded=b"a file object"),
        messages.Image(pixels=pixels),
        messages.Image(pixels=pixels),
    ]


async def test_models_are_listed_and_described(client, stub):
    assert [model.name for model in await client.models()] == ["lenet"]
    assert (await client.model("lenet", version=2)).labels == ("cat", "dog", "newt")
    assert stub.requests[-1] == messages.GetModelRequest(model="lenet", version="2")


async def test_the_deadline_travels_with_the_call(client, stub):
    await client.classify(b"a picture", timeout_seconds=90)
    await client.models()
    its_own, ours = stub.seconds_remaining
    assert 80 < its_own < 91  # rounded up on the wire
    assert 20 < ours < 31


async def test_what_is_too_large_is_refused_before_anything_is_sent(stub):
    async with AsyncClient(stub.target, max_message_bytes=1024) as client:
        with pytest.raises(InvalidImage, match="above the limit"):
            await client.classify(bytes(1024))
    assert stub.requests == []


async def test_many_calls_are_in_flight_at_once(client, stub, make_answer, patience_seconds):
    together = threading.Barrier(8)

    def behaviour(request, context):
        together.wait(patience_seconds)
        return make_answer(request)

    stub.on_classify = behaviour
    names = [str(number) for number in range(8)]
    results = await asyncio.gather(*(client.classify(b"a picture", image_id=name) for name in names))
    assert [result.image_id for result in results] == names


async def test_cancelling_a_task_cancels_its_call_at_the_server(client, stub, patience_seconds):
    arrived, gone, went_early = threading.Event(), threading.Event(), queue.Queue()

    def behaviour(request, context):
        context.add_callback(gone.set)
        arrived.set()
        # A call also ends when it is answered; it must have ended before that.
        went_early.put(gone.wait(patience_seconds))

    stub.on_classify = behaviour
    task = asyncio.create_task(client.classify(b"a picture", timeout_seconds=1000))
    assert await asyncio.to_thread(arrived.wait, patience_seconds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(went_early.get, timeout=2 * patience_seconds)


async def test_a_slow_file_does_not_block_the_event_loop(client, patience_seconds):
    class Slow(io.BytesIO):
        released = threading.Event()

        def read(self, size=-1):
            assert self.released.wait(patience_seconds)
            return super().read(size)

    slow = Slow(b"a picture")
    call = asyncio.create_task(client.classify(slow))
    await client.classify(b"another picture")
    assert not call.done()
    slow.released.set()
    assert (await call).model == "lenet"


def test_a_client_may_be_made_before_the_event_loop_runs(stub):
    client = AsyncClient(stub.target)

    async def ask() -> str:
        async with client:
            return (await client.classify(b"a picture")).model

    assert asyncio.run(ask()) == "lenet"


async def test_a_closed_client_says_so(stub):
    client = AsyncClient(stub.target)
    await client.close()
    with pytest.raises(RuntimeError, match="this AsyncClient is closed"):
        await client.classify(b"a picture")


def test_settings_that_make_no_sense_are_refused_at_once():
    with pytest.raises(ValueError, match="HOST:PORT"):
        AsyncClient("localhost")
    with pytest.raises(ValueError, match="timeout_seconds"):
        AsyncClient(timeout_seconds=0)


async def outcomes_of(outcomes):
    return [outcome.error async for outcome in outcomes]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.classify(b"a picture"),
        lambda client: client.classify(b"x" * 2_000_000),  # above the size at which the server's limit is asked for
        lambda client: client.classify_batch([b"a picture"]),
        lambda client: outcomes_of(client.classify_many([b"a picture"])),
        lambda client: outcomes_of(client.classify_stream([b"a picture"])),
        lambda client: client.models(),
    ],
    ids=["classify", "large", "batch", "many", "stream", "models"],
)
def test_a_call_in_another_event_loop_says_so(stub, call):
    client = AsyncClient(stub.target)
    asyncio.run(client.classify(b"a picture"))
    with pytest.raises(RuntimeError, match="this AsyncClient belongs to the event loop of its first call: make a new"):
        asyncio.run(call(client))
    asyncio.run(client.close())
    assert len(stub.requests) == 1
