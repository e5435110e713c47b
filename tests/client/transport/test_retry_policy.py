"""Which failures are retried, how often, and which never are; the same for both clients."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo

from linnaeus.client import AsyncClient, Client, DeadlineExceeded, LinnaeusError, Overloaded, Unavailable
from linnaeus.v1 import classifier_pb2 as messages

Code = grpc.StatusCode
MEGABYTE = 1_000_000
RETRIED = [Code.UNAVAILABLE, Code.CANCELLED]


def call_blocking(target: Any, image: bytes = b"a picture", **settings: Any) -> None:
    with Client(target, **settings) as client:
        client.classify(image)


def call_asyncio(target: Any, image: bytes = b"a picture", **settings: Any) -> None:
    async def classify() -> None:
        async with AsyncClient(target, **settings) as client:
            await client.classify(image)

    asyncio.run(classify())


@pytest.fixture(params=[call_blocking, call_asyncio])
def call(request) -> Callable[..., None]:
    return request.param


@pytest.fixture
def fail_first(stub, make_answer) -> Callable[..., None]:
    """Makes the first attempts of a call fail."""

    def script(failures: int, code: grpc.StatusCode, pushback_milliseconds: str | None = None) -> None:
        attempts = itertools.count(1)

        def behaviour(request, context):
            if next(attempts) > failures:
                return make_answer(request)
            if pushback_milliseconds is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", pushback_milliseconds),))
            context.abort(code, "The first attempts fail.")

        stub.on_classify = behaviour

    return script


@pytest.mark.parametrize("code", RETRIED)
def test_a_request_that_was_not_executed_is_retried(stub, call, fail_first, code):
    fail_first(1, code)
    call(stub.target)
    assert len(stub.images) == 2


def test_there_are_three_retries_at_most(stub, call, fail_first):
    fail_first(99, Code.UNAVAILABLE)
    with pytest.raises(Unavailable, match="The first attempts fail"):
        call(stub.target)
    assert len(stub.images) == 4


@pytest.mark.parametrize("code", [code for code in Code if code not in (Code.OK, *RETRIED)])
def test_every_other_failure_is_final(stub, call, fail_first, code):
    fail_first(1, code)
    with pytest.raises(LinnaeusError):
        call(stub.target)
    assert len(stub.images) == 1


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED])
def test_an_image_of_a_megabyte_is_retried(stub, call, fail_first, code):
    fail_first(1, code, pushback_milliseconds="1")
    picture = bytes(range(250)) * (MEGABYTE // 250)
    call(stub.target, picture)
    assert [image.encoded == picture for image in stub.images] == [True, True]


def test_an_image_as_large_as_the_server_accepts_is_retried(stub, call, fail_first):
    fail_first(1, Code.UNAVAILABLE)
    call(stub.target, bytes(8 * 1024 * 1024 - 64))
    assert len(stub.images) == 2


def test_the_server_may_forbid_another_attempt(stub, call, fail_first):
    fail_first(1, Code.RESOURCE_EXHAUSTED, pushback_milliseconds="-1")
    with pytest.raises(Overloaded):
        call(stub.target)
    assert len(stub.images) == 1


def test_a_retry_waits_as_long_as_the_server_says_within_the_one_deadline(stub, call, fail_first):
    """The wait is longer than any backoff of the policy, as the remaining time of the second attempt shows."""
    fail_first(1, Code.RESOURCE_EXHAUSTED, pushback_milliseconds="1500")
    call(stub.target, timeout_seconds=20)
    first, second = stub.seconds_remaining
    assert first - second > 1.25


@pytest.mark.parametrize(
    ("code", "error"), [(Code.UNAVAILABLE, DeadlineExceeded), (Code.RESOURCE_EXHAUSTED, Overloaded)]
)
def test_retries_end_with_the_deadline(stub, call, fail_first, code, error):
    """The server asks for a wait of an hour; its own refusal is reported at once."""
    fail_first(1, code, pushback_milliseconds="3600000")
    with pytest.raises(error):
        call(stub.target, timeout_seconds=2.0)
    assert len(stub.images) == 1


def test_all_attempts_share_one_deadline(stub, call, fail_first):
    fail_first(3, Code.RESOURCE_EXHAUSTED, pushback_milliseconds="300")
    call(stub.target, timeout_seconds=20)
    assert len(stub.seconds_remaining) == 4
    assert stub.seconds_remaining[0] - stub.seconds_remaining[-1] > 0.4  # gRPC rounds up on the wire


def test_retry_info_alone_does_not_change_the_wait_but_is_in_the_error(stub):
    stub.fail(Code.UNAVAILABLE, "Loading.", RetryInfo(retry_delay=Duration(seconds=3600)))
    with Client(stub.target) as client, pytest.raises(Unavailable) as raised:
        client.classify(b"a picture")
    assert (len(stub.images), raised.value.retry_after_seconds) == (4, 3600)


def test_listing_and_describing_models_are_retried_too(stub):
    attempts = itertools.count(1)
    on_list, on_get = stub.on_list, stub.on_get

    def failing_every_other_time(behaviour):
        def fail(request, context):
            if next(attempts) % 2:
                context.abort(Code.UNAVAILABLE, "Not now.")
            return behaviour(request, context)

        return fail

    stub.on_list, stub.on_get = failing_every_other_time(on_list), failing_every_other_time(on_get)
    with Client(stub.target) as client:
        assert [client.models()[0].name, client.model("lenet").name] == ["lenet", "lenet"]
    assert [type(request) for request in stub.requests] == [
        messages.ListModelsRequest,
        messages.ListModelsRequest,
        messages.GetModelRequest,
        messages.GetModelRequest,
    ]
