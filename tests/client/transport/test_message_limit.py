"""How large a request may be: the server says so, is asked once, and only when it matters."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from linnaeus.client import AsyncClient, Client, InvalidImage, Unavailable
from linnaeus.v1 import classifier_pb2 as messages

MEBIBYTE = 1024 * 1024
LIMIT_BYTES = 3 * MEBIBYTE
LARGE = bytes(2 * MEBIBYTE)
TOO_LARGE = bytes(4 * MEBIBYTE)


@pytest.fixture
def limited(stub):
    limits = messages.ServerLimits(max_message_bytes=LIMIT_BYTES)
    stub.on_list = lambda request, context: messages.ListModelsResponse(limits=limits)
    return stub


def questions(stub) -> int:
    return sum(isinstance(request, messages.ListModelsRequest) for request in stub.requests)


def test_a_small_picture_needs_no_question(limited):
    with Client(limited.target) as client:
        client.classify(bytes(MEBIBYTE // 2))
    assert questions(limited) == 0


def test_the_server_is_asked_once(limited):
    with Client(limited.target) as client:
        for _ in range(3):
            client.classify(LARGE)
    assert (questions(limited), len(limited.images)) == (1, 3)


def test_the_server_is_asked_once_however_many_threads_want_to_know(limited):
    with Client(limited.target) as client, ThreadPoolExecutor(8) as threads:
        list(threads.map(client.classify, [LARGE] * 8))
    assert (questions(limited), len(limited.images)) == (1, 8)


async def test_the_asyncio_client_asks_once_however_many_tasks_want_to_know(limited):
    async with AsyncClient(limited.target) as client:
        await asyncio.gather(*(client.classify(LARGE) for _ in range(8)))
    assert (questions(limited), len(limited.images)) == (1, 8)


def test_a_picture_above_the_servers_limit_is_never_sent(limited):
    with Client(limited.target) as client, pytest.raises(InvalidImage, match=r"above the limit of 3\.0 MiB"):
        client.classify(TOO_LARGE)
    assert limited.images == []


async def test_the_asyncio_client_never_sends_it_either(limited):
    async with AsyncClient(limited.target) as client:
        with pytest.raises(InvalidImage, match=r"above the limit of 3\.0 MiB"):
            await client.classify(TOO_LARGE)
    assert limited.images == []


def test_once_the_limit_is_known_a_file_above_it_is_not_even_read(limited, tmp_path):
    (tmp_path / "large.png").write_bytes(TOO_LARGE)
    with Client(limited.target) as client:
        client.classify(LARGE)
        with pytest.raises(InvalidImage, match=r"large\.png: the file is 4\.0 MiB"):
            client.classify(tmp_path / "large.png")


def test_a_lower_limit_of_ones_own_holds(limited):
    own = 2 * MEBIBYTE
    sentence = r"above the limit of 2\.0 MiB"
    with Client(limited.target, max_message_bytes=own) as client, pytest.raises(InvalidImage, match=sentence):
        client.classify(LARGE)
    assert limited.requests == []


def test_a_higher_limit_of_ones_own_does_not_lift_the_servers(limited):
    with Client(limited.target, max_message_bytes=5 * MEBIBYTE) as client, pytest.raises(InvalidImage):
        client.classify(TOO_LARGE)
    assert limited.images == []


def test_more_than_the_usual_limit_is_sent_where_the_server_takes_it(stub):
    """The stub takes 8 MiB whatever it says: that its transport refused it shows that it was sent."""
    limits = messages.ServerLimits(max_message_bytes=64 * MEBIBYTE)
    stub.on_list = lambda request, context: messages.ListModelsResponse(limits=limits)
    with Client(stub.target) as client, pytest.raises(InvalidImage, match="takes no message this large"):
        client.classify(bytes(40 * MEBIBYTE))


def test_a_server_that_tells_no_limit_is_taken_for_a_usual_one(stub):
    with Client(stub.target) as client:
        client.classify(LARGE)
        with pytest.raises(InvalidImage, match=r"above the limit of 32\.0 MiB"):
            client.classify(bytes(33 * MEBIBYTE))
    assert questions(stub) == 1


def test_a_server_that_knows_no_listing_is_sent_the_picture_all_the_same(stub):
    stub.on_list = lambda request, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "No such method.")
    with Client(stub.target) as client:
        client.classify(LARGE)
        client.classify(LARGE)
    assert (questions(stub), len(stub.images)) == (1, 2)


def test_a_server_that_cannot_be_asked_ends_the_call_and_is_asked_again(stub):
    listing = stub.on_list
    stub.on_list = lambda request, context: context.abort(grpc.StatusCode.UNAVAILABLE, "Not now.")
    with Client(stub.target) as client:
        with pytest.raises(Unavailable, match="Not now"):
            client.classify(LARGE)
        stub.on_list = listing
        client.classify(LARGE)
    assert len(stub.images) == 1


@pytest.mark.parametrize("limit", [True, 2**40])
def test_a_limit_that_grpc_cannot_hold_is_refused(limit):
    with pytest.raises(ValueError, match="max_message_bytes must be"):
        Client("localhost:8001", max_message_bytes=limit)
