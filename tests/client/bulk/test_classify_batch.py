"""`classify_batch`: as few calls as possible, one outcome an image, and no image sent again that was answered."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from linnaeus.client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    InvalidImage,
    ModelNotFound,
    Outcome,
    Overloaded,
    ServerFailure,
    Unavailable,
)
from linnaeus.v1 import classifier_pb2 as messages

MEBIBYTE = 1024 * 1024


@pytest.fixture(params=["blocking", "asyncio"])
def classify_batch(request, stub):
    """`classify_batch` of either client, as a blocking function."""

    def blocking(images: Any, **options: Any) -> list[Outcome]:
        with Client(stub.target) as client:
            return client.classify_batch(images, **options)

    async def call_asyncio(images: Any, **options: Any) -> list[Outcome]:
        async with AsyncClient(stub.target) as client:
            return await client.classify_batch(images, **options)

    return (
        blocking
        if request.param == "blocking"
        else lambda *images, **options: asyncio.run(call_asyncio(*images, **options))
    )


@pytest.fixture
def batches(stub):
    """The stub server accepts batches of at most 4; a test may set the error of an image by its content."""
    limits = messages.ServerLimits(max_message_bytes=3 * MEBIBYTE, max_batch_images=4)
    stub.on_list = lambda request, context: messages.ListModelsResponse(limits=limits)
    return stub


def contents(stub) -> list[list[bytes]]:
    return [
        [image.encoded[:20] for image in request.images]
        for request in stub.requests
        if isinstance(request, messages.ClassifyBatchRequest)
    ]


def refused(make_status, code: grpc.StatusCode, *details: Any) -> messages.ImageError:
    status = make_status(code, "as told", *details)
    return messages.ImageError(code=status.code, message=status.message, details=status.details)


def retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def test_images_are_sent_in_calls_of_as_many_as_the_server_accepts(classify_batch, batches):
    pictures = [b"picture %d" % number for number in range(10)]
    outcomes = classify_batch(iter(pictures), model="m", version=2, top_k=1, priority="high")
    assert contents(batches) == [pictures[0:4], pictures[4:8], pictures[8:10]]
    call = batches.requests[1]
    assert (call.model, call.version, call.top_k, call.priority) == ("m", "2", 1, messages.PRIORITY_HIGH)
    assert [(outcome.index, outcome.source) for outcome in outcomes] == list(enumerate(pictures))
    first = outcomes[0].unwrap()
    assert (first.top.label, first.model, first.version, first.batch_size) == ("tabby, tabby cat", "m", 2, 4)


def test_images_that_are_large_together_are_sent_in_several_calls(classify_batch, batches):
    pictures = [name * MEBIBYTE for name in (b"a", b"b", b"c")] + [b"d"]
    assert all(outcome.ok for outcome in classify_batch(pictures))
    assert [len(call) for call in contents(batches)] == [2, 2]
    calls = [request for request in batches.requests if isinstance(request, messages.ClassifyBatchRequest)]
    assert all(call.ByteSize() <= 3 * MEBIBYTE for call in calls)


def test_an_image_that_cannot_be_read_fails_alone_and_is_not_sent(classify_batch, batches, tmp_path):
    outcomes = classify_batch([b"one", tmp_path / "none.jpg", bytes(4 * MEBIBYTE), b"two"])
    assert [type(outcome.error) for outcome in outcomes] == [type(None), InvalidImage, InvalidImage, type(None)]
    assert contents(batches) == [[b"one", b"two"]]


def test_no_image_is_no_call(classify_batch, batches):
    assert classify_batch([]) == []
    assert contents(batches) == []


def test_the_error_of_an_image_is_that_of_a_call_for_it_alone(classify_batch, batches, make_status):
    violation = error_details_pb2.BadRequest.FieldViolation(field="image.encoded", description="no picture")
    batches.errors = {
        b"bad": refused(
            make_status, grpc.StatusCode.INVALID_ARGUMENT, error_details_pb2.BadRequest(field_violations=[violation])
        ),
        b"late": refused(make_status, grpc.StatusCode.DEADLINE_EXCEEDED, error_details_pb2.ErrorInfo(reason="LATE")),
        b"odd": messages.ImageError(code=777, message="what?"),
    }
    bad, late, good, odd = classify_batch([b"bad", b"late", b"good", b"odd"])
    assert isinstance(bad.error, InvalidImage) and bad.error.details[0]["type"] == "BadRequest"
    assert isinstance(late.error, DeadlineExceeded) and str(late.error) == "as told"
    assert good.ok and isinstance(odd.error, ServerFailure)
    assert len(contents(batches)) == 1


def test_a_refused_image_is_sent_again_when_the_server_said_and_an_answered_one_is_not(
    classify_batch, batches, make_status
):
    full = refused(make_status, grpc.StatusCode.RESOURCE_EXHAUSTED, retry_info(0.01))
    batches.errors = {b"b": full, b"d": full}
    batches.error_count = 2
    outcomes = classify_batch([b"a", b"b", b"c", b"d", b"e"])
    assert all(outcome.ok for outcome in outcomes) and [outcome.source for outcome in outcomes] == [
        b"a",
        b"b",
        b"c",
        b"d",
        b"e",
    ]
    assert contents(batches) == [[b"a", b"b", b"c", b"d"], [b"e"], [b"b", b"d"]]


def test_an_image_that_is_always_refused_is_sent_four_times(classify_batch, batches, make_status):
    batches.errors = {b"b": refused(make_status, grpc.StatusCode.UNAVAILABLE, retry_info(0.001))}
    a, b = classify_batch([b"a", b"b"])
    assert a.ok and isinstance(b.error, Unavailable)
    assert contents(batches) == [[b"a", b"b"], [b"b"], [b"b"], [b"b"]]


def test_a_retry_after_the_deadline_is_not_waited_for(classify_batch, batches, make_status):
    batches.errors = {b"b": refused(make_status, grpc.StatusCode.RESOURCE_EXHAUSTED, retry_info(1000.0))}
    (b,) = classify_batch([b"b"])
    assert isinstance(b.error, Overloaded) and len(contents(batches)) == 1


def test_a_call_that_was_refused_as_a_whole_is_retried(classify_batch, batches):
    answer, refusals = batches.on_batch, iter([True])

    def first_full(request, context):
        if next(refusals, False):
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "1"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return answer(request, context)

    batches.on_batch = first_full
    assert all(outcome.ok for outcome in classify_batch([b"a", b"b"]))
    assert contents(batches) == [[b"a", b"b"]] * 2


def test_the_error_of_a_call_is_that_of_its_images_only(classify_batch, batches):
    answer = batches.on_batch

    def second_fails(request, context):
        if request.images[0].encoded == b"4":
            context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        return answer(request, context)

    batches.on_batch = second_fails
    outcomes = classify_batch([b"%d" % number for number in range(10)])
    assert [outcome.index for outcome in outcomes if not outcome.ok] == [4, 5, 6, 7]
    assert isinstance(outcomes[5].error, ModelNotFound)


def test_a_response_of_another_length_is_a_failure(classify_batch, batches):
    batches.on_batch = lambda request, context: messages.ClassifyBatchResponse()
    (only,) = classify_batch([b"a"])
    assert isinstance(only.error, ServerFailure) and "0 pictures of 1" in str(only.error)


def test_a_result_without_a_class_is_a_failure(classify_batch, batches):
    empty = messages.ImageResult(classification=messages.Classification())
    batches.on_batch = lambda request, context: messages.ClassifyBatchResponse(results=[empty])
    assert isinstance(classify_batch([b"a"])[0].error, ServerFailure)


def test_a_server_that_cannot_be_reached_is_the_error_of_every_image(silent_target):
    with Client(silent_target, timeout_seconds=20) as client:
        outcomes = client.classify_batch([b"a", b"b"])
    assert [type(outcome.error) for outcome in outcomes] == [Unavailable] * 2


def test_the_server_is_queried_for_its_limits_once(batches):
    with Client(batches.target) as client:
        for _ in range(3):
            client.classify_batch([b"a"])
    assert sum(isinstance(request, messages.ListModelsRequest) for request in batches.requests) == 1


def test_all_calls_share_one_deadline(batches):
    with Client(batches.target, timeout_seconds=40) as client:
        client.classify_batch([b"a"] * 8)
        client.classify_batch([b"a"], timeout_seconds=90)
    *ours, own = batches.seconds_remaining
    assert all(30 < seconds < 41 for seconds in ours) and 80 < own < 91


@pytest.mark.parametrize("one", [b"picture", "cat.jpg", 7])
def test_a_single_image_is_refused(classify_batch, batches, one):
    with pytest.raises(TypeError, match="see classify"):
        classify_batch(one)
