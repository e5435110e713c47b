"""`classify_many` of both clients: one outcome an image, bounded reading, and no call in flight once it is closed."""

import asyncio
import contextlib
import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from linnaeus.client import AsyncClient, Classification, Client, InvalidImage, LinnaeusError, ScoredClass, Timings
from linnaeus.client.aio.many import classify_many as classify_many_aio
from linnaeus.client.bulk.concurrency_window import ReorderBuffer
from linnaeus.client.sync.call_group import CallGroup
from linnaeus.client.sync.many import classify_many

PATIENCE_SECONDS = 60
TINY = Classification((ScoredClass(0, "cat", 1.0),), "lenet", 1, 1, Timings(0.0, 0.0, 0.0))

runs = given(
    count=st.integers(0, 40),
    concurrency=st.integers(1, 8),
    ordered=st.booleans(),
    choices=st.lists(st.integers(0, 1000), min_size=1, max_size=40),
    bad=st.sets(st.integers(0, 39)),
)
few = settings(max_examples=40, deadline=None)


class Counted:
    """Images that count how many were read, and how far the reading was ahead of the outcomes taken."""

    def __init__(self, count: int, failure: Exception | None = None) -> None:
        self.taken = self.ahead = self.read = 0
        self._count, self._failure = count, failure

    def __iter__(self) -> Iterator[bytes]:
        for index in range(self._count):
            self.read += 1
            self.ahead = max(self.ahead, self.read - self.taken)
            yield str(index).encode()
        if self._failure is not None:
            raise self._failure

    async def aiter(self):
        for image in self:
            await asyncio.sleep(0)
            yield image


def check_promises(pictures: Counted, outcomes, count, concurrency, ordered, bad) -> None:
    indices = [outcome.index for outcome in outcomes]
    assert sorted(indices) == list(range(count))
    assert indices == sorted(indices) or not ordered
    assert {outcome.index for outcome in outcomes if not outcome.ok} == {index for index in bad if index < count}
    assert all(outcome.source == str(outcome.index).encode() for outcome in outcomes)
    assert pictures.ahead <= concurrency


class BlockedCalls:
    """Blocks every call; another thread releases them in an order that depends on `choices`."""

    def __init__(self, choices: list[int], bad: set[int]) -> None:
        self._choices, self._bad = choices, bad
        self._waiting: list[threading.Event] = []
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._release)
        self._thread.start()

    def classify(self, image, calls) -> Classification:
        released = threading.Event()
        with self._changed:
            self._waiting.append(released)
            self._changed.notify()
        if not released.wait(PATIENCE_SECONDS):
            raise TimeoutError("the call was not released")
        if int(image) in self._bad:
            raise InvalidImage("no picture")
        return TINY

    def end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def _release(self) -> None:
        for turn in range(10_000):
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over, PATIENCE_SECONDS)
                if not self._waiting:
                    return
                self._waiting.pop(self._choices[turn % len(self._choices)] % len(self._waiting)).set()


@few
@runs
def test_every_image_has_one_outcome_and_the_reading_is_bounded(count, concurrency, ordered, choices, bad):
    pictures, calls, outcomes = Counted(count), BlockedCalls(choices, bad), []
    for outcome in classify_many(pictures, calls.classify, concurrency=concurrency, ordered=ordered):
        pictures.taken += 1
        outcomes.append(outcome)
    calls.end()
    check_promises(pictures, outcomes, count, concurrency, ordered, bad)


@few
@runs
def test_every_image_has_one_outcome_and_the_reading_is_bounded_with_asyncio(count, concurrency, ordered, choices, bad):
    pictures, outcomes = Counted(count), []
    turns = iter(range(10_000))

    async def classify(image, calls):
        for _ in range(choices[next(turns) % len(choices)] % 7):
            await asyncio.sleep(0)
        if int(image) in bad:
            raise InvalidImage("no picture")
        return TINY

    async def run():
        images = pictures.aiter() if choices[0] % 2 else pictures
        async for outcome in classify_many_aio(images, classify, concurrency=concurrency, ordered=ordered):
            pictures.taken += 1
            outcomes.append(outcome)
            await asyncio.sleep(0)

    asyncio.run(run())
    check_promises(pictures, outcomes, count, concurrency, ordered, bad)


@given(arrivals=st.permutations(range(12)), ordered=st.booleans())
def test_the_reorder_buffer_returns_each_item_once_in_order(arrivals, ordered):
    buffer, returned = ReorderBuffer(ordered=ordered), []
    for index in arrivals:
        buffer.add(index, index)
        while (item := buffer.pop()) is not None:
            returned.append(item)
    assert returned == (sorted(arrivals) if ordered else list(arrivals))


class EitherClient:
    """Calls a method of either client; returns the outcomes and the error that was raised after them."""

    def __init__(self, kind: str, target: str) -> None:
        self._kind, self._target = kind, target
        # Called once the outcomes are closed, while the client is still open.
        self.afterwards = lambda: None
        # Called after each outcome.
        self.on_outcome = lambda: None

    def __call__(self, images, *, take: int | None = None, method: str = "classify_many", **options):
        outcomes: list = []
        try:
            if self._kind == "sync":
                self._sync(images, take, method, options, outcomes)
            else:
                asyncio.run(self._aio(images, take, method, options, outcomes))
        except (LinnaeusError, ZeroDivisionError) as failure:
            return outcomes, failure
        return outcomes, None

    def _sync(self, images, take, method, options, outcomes) -> None:
        with Client(self._target) as client:
            with contextlib.closing(getattr(client, method)(images, **options)) as stream:
                for outcome in stream:
                    outcomes.append(outcome)
                    if self._took(images, len(outcomes)) == take:
                        break
            self.afterwards()

    def _took(self, images, count: int) -> int:
        if isinstance(images, Counted):
            images.taken = count
        self.on_outcome()
        return count

    async def _aio(self, images, take, method, options, outcomes) -> None:
        async with AsyncClient(self._target) as client:
            async with contextlib.aclosing(getattr(client, method)(images, **options)) as stream:
                async for outcome in stream:
                    outcomes.append(outcome)
                    if self._took(images, len(outcomes)) == take:
                        break
            await asyncio.to_thread(self.afterwards)


@pytest.fixture(params=["sync", "asyncio"])
def run(request, stub) -> EitherClient:
    return EitherClient(request.param, stub.target)


def test_a_million_images_are_read_only_as_outcomes_are_taken(run):
    pictures = Counted(1_000_000)
    outcomes, _ = run(pictures, take=3, concurrency=4)
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]
    assert pictures.read <= 3 + 4


def test_an_image_that_fails_does_not_affect_the_others(run, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"a file")
    images = [tmp_path / "cat.jpg", str(tmp_path / "missing.jpg"), b"", object(), b"bytes"]
    outcomes, failure = run(images)
    assert failure is None
    assert [outcome.ok for outcome in outcomes] == [True, False, False, False, True]
    assert [outcome.source for outcome in outcomes] == images
    assert outcomes[0].unwrap().top.label == "tabby, tabby cat"
    with pytest.raises(InvalidImage, match="there is no such file"):
        outcomes[1].unwrap()


def test_every_type_of_image_is_accepted(run, stub, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"a file")
    array = numpy.arange(12, dtype=numpy.uint8).reshape(2, 2, 3)
    images = [tmp_path / "cat.jpg", b"bytes", io.BytesIO(b"a file object"), array, Image.fromarray(array)]
    outcomes, _ = run(images, concurrency=1)
    assert [outcome.ok for outcome in outcomes] == [True] * 5
    assert [image.encoded for image in stub.images[:3]] == [b"a file", b"bytes", b"a file object"]
    assert [image.pixels.data for image in stub.images[3:]] == [array.tobytes()] * 2
    assert [outcome.name for outcome in outcomes] == [str(tmp_path / "cat.jpg"), *(f"picture {n}" for n in range(1, 5))]


def test_every_option_is_sent(run, stub):
    run([b"a picture"], model="lenet", version=2, top_k=3, timeout_seconds=90)
    (request,) = stub.requests
    assert (request.model, request.version, request.top_k) == ("lenet", "2", 3)
    assert 80 < stub.seconds_remaining[0] < 91


def test_an_error_of_the_images_is_raised_after_the_outcomes_before_it(run):
    pictures = Counted(3, failure=ZeroDivisionError("theirs"))
    outcomes, failure = run(pictures, concurrency=8)
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]
    assert isinstance(failure, ZeroDivisionError)


def test_unordered_outcomes_come_as_they_finish(run, stub, make_answer, patience_seconds):
    second_was_taken = threading.Event()

    def behaviour(request, context):
        if request.image.encoded == b"0":
            second_was_taken.wait(patience_seconds)
        return make_answer(request)

    stub.on_classify, run.on_outcome = behaviour, second_was_taken.set
    assert [outcome.index for outcome in run(Counted(2), ordered=False)[0]] == [1, 0]


def test_ordered_outcomes_come_in_the_order_of_the_images(run, stub, make_answer, patience_seconds):
    second_is_done = threading.Event()

    def behaviour(request, context):
        if request.image.encoded == b"0":
            second_is_done.wait(patience_seconds)
        else:
            context.add_callback(second_is_done.set)
        return make_answer(request)

    stub.on_classify = behaviour
    assert [outcome.index for outcome in run(Counted(2))[0]] == [0, 1]


def test_concurrency_images_are_in_flight_at_once(run, stub, make_answer, patience_seconds):
    together = threading.Barrier(5)

    def behaviour(request, context):
        together.wait(patience_seconds)
        return make_answer(request)

    stub.on_classify = behaviour
    outcomes, _ = run(Counted(10), concurrency=5)
    assert all(outcome.ok for outcome in outcomes)


def test_closing_early_cancels_the_calls_in_flight(run, stub, make_answer, patience_seconds):
    waiting, gone = threading.Barrier(4), threading.Semaphore(0)

    def behaviour(request, context):
        if request.image.encoded != b"0":
            context.add_callback(gone.release)
            waiting.wait(patience_seconds)
            left.wait(patience_seconds)
        else:
            waiting.wait(patience_seconds)
        return make_answer(request)

    def nothing_is_in_flight():
        assert all(gone.acquire(timeout=patience_seconds) for _ in range(3))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("linnaeus-classify-many")]

    stub.on_classify, left, run.afterwards = behaviour, threading.Event(), nothing_is_in_flight
    outcomes, _ = run(Counted(100), take=1, concurrency=4)
    left.set()
    assert [outcome.index for outcome in outcomes] == [0]


async def test_a_loop_that_is_left_without_closing_cancels_too(stub, make_answer, patience_seconds):
    arrived, gone, left = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

    def behaviour(request, context):
        if request.image.encoded != b"0":
            context.add_callback(gone.release)
            arrived.release()
            left.wait(patience_seconds)
        return make_answer(request)

    stub.on_classify = behaviour
    async with AsyncClient(stub.target) as client:
        async for _ in client.classify_many(Counted(100), concurrency=3):
            assert all([await asyncio.to_thread(arrived.acquire, timeout=patience_seconds) for _ in range(2)])
            break
        assert all([await asyncio.to_thread(gone.acquire, timeout=patience_seconds) for _ in range(2)])
    left.set()


class FakeCall:
    """A gRPC future that never ends and records whether it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def add_done_callback(self, _) -> None:
        pass


def test_a_call_that_begins_after_the_group_was_cancelled_is_cancelled():
    calls, before, after = CallGroup(), FakeCall(), FakeCall()
    calls.add(before)
    assert not before.cancelled
    calls.cancel()
    calls.add(after)
    assert before.cancelled and after.cancelled


def test_a_closed_client_raises_instead_of_returning_outcomes(stub):
    client = Client(stub.target)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(client.classify_many([b"a picture"]))


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("arguments", "options", "kind", "told"),
    [
        ([b""], {"concurrency": 0}, ValueError, "concurrency"),
        ([b""], {"concurrency": True}, ValueError, "concurrency"),
        ([b""], {"timeout_seconds": -1}, ValueError, "timeout"),
        ("cat.jpg", {}, TypeError, "not str"),
        (Path("cat.jpg"), {}, TypeError, "iterable of pictures"),
        (io.BytesIO(b"one"), {}, TypeError, "not BytesIO"),
        (7, {}, TypeError, "not int"),
    ],
)
def test_an_invalid_argument_is_refused_before_anything_is_read(client, arguments, options, kind, told):
    with pytest.raises(kind, match=told):
        client("localhost:1").classify_many(arguments, **options)


def test_outcomes_are_converted_to_dicts(run, stub):
    good, bad = (outcome.to_dict() for outcome in run([b"a picture", b""])[0])
    assert json.loads(json.dumps([good, bad])) == [good, bad]
    assert good["elapsed_seconds"] > 0
    assert good["result"]["classes"][0] == {"index": 281, "label": "tabby, tabby cat", "probability": 0.75}
    assert good["result"]["timings"] == {"decode_seconds": 0.25, "queue_seconds": 0.5, "inference_seconds": 1.0}
    assert (good["index"], good["picture"], good["error"]) == (0, "picture 0", None)
    assert bad["result"] is None
    assert bad["error"] == {
        "type": "InvalidImage",
        "message": "the picture is empty: there are no bytes in it",
        "details": [],
    }


def test_an_error_of_the_server_is_an_outcome(run, stub):
    stub.fail(grpc.StatusCode.NOT_FOUND, "There is no model alexnet.")
    (outcome,), failure = run([b"a picture"], model="alexnet")
    assert failure is None
    assert str(outcome.error) == "There is no model alexnet."


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png", "below/c.webp", "below/.cache/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["a.png", "b.JPG"]),
        ({"recursive": True}, ["a.png", "b.JPG", "below/c.webp"]),
        ({"pattern": "*.txt"}, ["notes.txt"]),
        ({"pattern": "?.png", "recursive": True}, ["a.png"]),
    ],
)
def test_the_images_of_a_folder_are_sorted_by_path(run, folder, stub, options, expected):
    outcomes, failure = run(folder, method="classify_folder", **options)
    assert failure is None
    assert [outcome.source for outcome in outcomes] == [folder / name for name in expected]
    assert sorted(image.encoded.decode() for image in stub.images) == expected


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing", "missing: there is no such folder"),
        ("empty", r"empty: there is no picture \(.bmp, .*\) in this folder"),
        ("cat.jpg", "cat.jpg: this is a file, not a folder"),
    ],
)
def test_a_folder_without_images_is_an_error(run, tmp_path, stub, name, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "cat.jpg").write_bytes(b"a picture")
    outcomes, failure = run(str(tmp_path / name), method="classify_folder")
    assert outcomes == []
    assert isinstance(failure, InvalidImage)
    assert re.search(told, str(failure))
    assert stub.requests == []
