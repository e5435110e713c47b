"""`classify_stream` of both clients: one call, one outcome an image, bounded reading, no answered image sent again."""

import asyncio
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.client import AsyncClient, Client, DeadlineExceeded, InvalidImage, LinnaeusError, Outcome, Unavailable
from linnaeus.v1 import classifier_pb2 as messages

Requests = Iterator[messages.StreamClassifyRequest]


def call_blocking(target: str, images: Any, **options: Any) -> list[Outcome]:
    with Client(target) as client:
        return list(client.classify_stream(images, **options))


def call_asyncio(target: str, images: Any, **options: Any) -> list[Outcome]:
    async def call() -> list[Outcome]:
        async with AsyncClient(target) as client:
            outcomes = [outcome async for outcome in client.classify_stream(images, **options)]
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not others or not (await asyncio.wait(others, timeout=30))[1], "a task outlived its stream"
            return outcomes

    return asyncio.run(call())


@pytest.fixture(params=[call_blocking, call_asyncio])
def classify_stream(request, stub):
    """`classify_stream` of either client; returns all outcomes."""
    return lambda images, **options: request.param(stub.target, images, **options)


def pictures(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def sent(stub) -> Counter[bytes]:
    return Counter(
        request.image.encoded for request in stub.requests if isinstance(request, messages.StreamClassifyRequest)
    )


def test_every_image_is_sent_once_over_one_stream_and_the_outcomes_are_in_order(classify_stream, stub):
    streams = []
    answering = stub.on_stream

    def counted(requests, context):
        streams.append(context)
        return answering(requests, context)

    stub.on_stream = counted
    outcomes = classify_stream(iter(pictures(300)), model="m", version=2, top_k=1, priority="low", timeout_seconds=50)
    assert [(outcome.index, outcome.source) for outcome in outcomes] == list(enumerate(pictures(300)))
    assert len(streams) == 1 and set(sent(stub).values()) == {1}
    request = stub.requests[7]
    assert (request.model, request.version, request.top_k) == ("m", "2", 1)
    assert 0 < request.timeout_seconds <= 50
    assert request.priority == messages.PRIORITY_LOW
    first = outcomes[0].unwrap()
    assert (first.top.label, first.model, first.version, first.batch_size) == ("tabby, tabby cat", "m", 2, 4)


@pytest.mark.parametrize("ordered", [True, False])
def test_answers_may_come_in_any_order(classify_stream, stub, ordered):
    def backwards(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        while group := list(itertools.islice(requests, 4)):
            yield from map(stub.stream_answer, reversed(group))

    stub.on_stream = backwards
    outcomes = classify_stream(pictures(12), concurrency=4, ordered=ordered)
    indices = [outcome.index for outcome in outcomes]
    assert sorted(indices) == list(range(12)) and (indices == sorted(indices)) is ordered
    assert all(outcome.source == b"%d" % outcome.index and outcome.ok for outcome in outcomes)


def test_an_image_that_fails_does_not_affect_the_others(classify_stream, stub, tmp_path):
    stub.errors = {b"bad": messages.ImageError(code=14, message="no device")}
    good, bad, unread = classify_stream([b"good", b"bad", tmp_path / "none.jpg"])
    assert good.ok and isinstance(bad.error, Unavailable) and isinstance(unread.error, InvalidImage)
    assert sum(sent(stub).values()) == 2


def test_images_are_read_no_further_ahead_than_the_concurrency(classify_stream, stub):
    read = answered = 0

    def images() -> Iterator[bytes]:
        nonlocal read
        for picture in pictures(100):
            read += 1
            assert read - answered <= 5 + 1  # an image may be read as soon as the answer before it is on its way
            yield picture

    def count(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        nonlocal answered
        for request in requests:
            answered += 1
            yield stub.stream_answer(request)

    stub.on_stream = count
    assert len(classify_stream(images(), concurrency=5)) == 100


# INTERNAL without details is a proxy's that has lost its server.
@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED", "INTERNAL"])
def test_images_without_an_answer_are_sent_over_another_stream_when_one_is_lost(classify_stream, stub, code):
    def short(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        for request in itertools.islice(requests, 7):
            yield stub.stream_answer(request)
        context.abort(grpc.StatusCode[code], "stopping")

    stub.on_stream = short
    outcomes = classify_stream(pictures(50), concurrency=4)
    assert [outcome.source for outcome in outcomes if outcome.ok] == pictures(50)


def test_a_fault_of_the_server_itself_is_not_followed_by_another_stream(classify_stream, stub):
    """Its own INTERNAL has details."""
    fault = status_pb2.Status(code=code_pb2.INTERNAL, message="a fault")
    fault.details.add().Pack(error_details_pb2.ErrorInfo(reason="INTERNAL"))

    def faulty(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        yield stub.stream_answer(next(requests))
        next(requests)
        context.abort_with_status(rpc_status.to_status(fault))

    stub.on_stream = faulty
    outcomes = classify_stream(pictures(3), concurrency=1)
    assert [outcome.ok for outcome in outcomes] == [True, False, True]


def test_an_image_that_was_answered_is_never_sent_again(classify_stream, stub):
    answered: list[bytes] = []

    def short(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        for request in itertools.islice(requests, 7):
            assert request.image.encoded not in answered
            answered.append(request.image.encoded)
            yield stub.stream_answer(request)
        context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")

    stub.on_stream = short
    assert len(classify_stream(pictures(50), concurrency=4)) == len(answered) == 50


def test_a_stream_that_never_answered_is_not_followed_by_another(classify_stream, stub):
    def never(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        next(requests)
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    stub.on_stream = never
    outcomes = classify_stream(pictures(3), concurrency=1)
    assert [type(outcome.error) for outcome in outcomes] == [Unavailable] * 3


def test_a_stream_that_the_server_ends_early_is_the_error_of_every_image_in_flight(classify_stream, stub):
    stub.on_stream = lambda requests, context: iter([stub.stream_answer(next(requests))])
    outcomes = classify_stream(pictures(4), concurrency=2)
    assert outcomes[0].ok and all(outcome.ok or isinstance(outcome.error, LinnaeusError) for outcome in outcomes)
    assert not all(outcome.ok for outcome in outcomes)


def test_an_image_ends_at_its_deadline_without_an_answer(classify_stream, stub):
    over = threading.Event()

    def silent(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        context.add_callback(over.set)
        yield stub.stream_answer(next(requests))
        over.wait(30)

    stub.on_stream = silent
    first, second, third = classify_stream(pictures(3), timeout_seconds=0.5)
    assert first.ok and isinstance(second.error, DeadlineExceeded) and "within 0.5 s" in str(second.error)
    assert isinstance(third.error, DeadlineExceeded)
    assert over.wait(30), "the stream is closed at the server, too"


def test_an_error_of_the_images_is_raised_after_the_outcomes_before_it(classify_stream, stub):
    def images() -> Iterator[bytes]:
        yield from pictures(3)
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        classify_stream(images())
    assert sum(sent(stub).values()) == 3


def test_without_images_no_stream_is_opened(classify_stream, stub):
    assert classify_stream([]) == [] and stub.requests == []


def test_closing_early_ends_the_stream_at_the_server_and_every_thread(stub):
    over = threading.Event()

    def told(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        context.add_callback(over.set)
        return map(stub.stream_answer, requests)

    stub.on_stream = told
    with Client(stub.target) as client:
        outcomes = client.classify_stream(itertools.repeat(b"x"))
        assert next(outcomes).ok
        outcomes.close()
        assert over.wait(30)
        assert not [each for each in threading.enumerate() if each.name == "linnaeus-classify-stream"]


async def test_closing_early_ends_the_stream_at_the_server_and_every_task(stub):
    over = threading.Event()

    def told(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        context.add_callback(over.set)
        return map(stub.stream_answer, requests)

    stub.on_stream = told
    before = asyncio.all_tasks()
    async with AsyncClient(stub.target) as client:
        stream = client.classify_stream(itertools.repeat(b"x"))
        async with contextlib.aclosing(stream) as outcomes:
            assert (await anext(outcomes)).ok
        assert await asyncio.to_thread(over.wait, 30)
        left = [task for task in asyncio.all_tasks() - before if "linnaeus" in repr(task.get_coro())]
        assert left == []


@pytest.mark.parametrize("client_type", [Client, AsyncClient])
def test_invalid_arguments_are_refused_at_once(stub, client_type):
    client = client_type(stub.target)
    with pytest.raises(ValueError, match="concurrency"):
        client.classify_stream([b"x"], concurrency=0)
    with pytest.raises(ValueError, match="timeout_seconds"):
        client.classify_stream([b"x"], timeout_seconds=-1)
    with pytest.raises(TypeError, match="see classify"):
        client.classify_stream(b"x")


def test_closing_the_client_ends_the_images_in_flight(stub):
    def silent(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        yield stub.stream_answer(next(requests))
        closed.wait(30)

    closed = threading.Event()
    stub.on_stream = silent
    client = Client(stub.target)
    outcomes = client.classify_stream(pictures(3))
    assert next(outcomes).ok
    client.close()
    closed.set()
    assert not any(outcome.ok for outcome in outcomes)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 40),
    # An image is sent once for each one that is answered before it, of those beside it and the one whose place it took,
    # and a fourth time at most.
    concurrency=st.integers(1, 3),
    life=st.integers(1, 9),
    bad=st.sets(st.integers(0, 39)),
    send=st.sampled_from([call_blocking, call_asyncio]),
)
def test_every_image_has_one_outcome_whatever_fails(count, concurrency, life, bad, send, shared_stub):
    shared_stub.errors = {b"%d" % number: messages.ImageError(code=3, message="bad") for number in bad}

    def short(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        for request in itertools.islice(requests, life):
            yield shared_stub.stream_answer(request)
        context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")

    shared_stub.on_stream = short
    outcomes = send(shared_stub.target, pictures(count), concurrency=concurrency)
    assert [outcome.source for outcome in outcomes] == pictures(count)
    assert {outcome.index for outcome in outcomes if not outcome.ok} == {number for number in bad if number < count}


def test_an_image_that_ends_its_streams_is_sent_four_times_at_most(classify_stream, stub):
    """Others are answered, so that each stream is followed by another one. Who was always beside it fails with it."""

    def fragile(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        for request in requests:
            if request.image.encoded == b"deadly":
                killed.append(request)
                context.abort(grpc.StatusCode.UNAVAILABLE, "the server has died")
            yield stub.stream_answer(request)

    killed: list[Any] = []
    stub.on_stream = fragile
    outcomes = classify_stream([*pictures(3), b"deadly", *pictures(100)], concurrency=2)
    failed = [outcome.source for outcome in outcomes if not outcome.ok]
    assert b"deadly" in failed and len(failed) <= 2
    assert len(killed) == 4 and max(sent(stub).values()) <= 4


def test_an_image_that_is_sent_again_has_only_the_rest_of_its_time(classify_stream, stub):
    attempts: list[float] = []

    def slow(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        attempts.append(next(requests).timeout_seconds)
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "200"),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")

    stub.on_stream = slow
    (outcome,) = classify_stream([b"x"], timeout_seconds=20)
    assert isinstance(outcome.error, Unavailable)
    assert len(attempts) == 4
    assert all(earlier - later >= 0.2 for earlier, later in itertools.pairwise(attempts))


def test_a_stream_that_is_refused_is_opened_again_when_the_server_says(classify_stream, stub):
    """So does a server whose rate limit a caller exceeds."""
    refusals = iter([True, True])

    def refuse(requests: Requests, context: Any) -> Iterator[messages.StreamClassifyResponse]:
        if next(refusals, False):
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "10"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "ask again in 0.010 s")
        return map(stub.stream_answer, requests)

    stub.on_stream = refuse
    assert [outcome.source for outcome in classify_stream(pictures(20)) if outcome.ok] == pictures(20)
