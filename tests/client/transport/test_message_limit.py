"""The server's message limit: queried once, and only for requests that may exceed it."""

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


def queries(stub) -> int:
    return sum(isinstance(request, messages.ListModelsRequest) for request in stub.requests)


def test_a_small_image_needs_no_query(limited):
    with Client(limited.target) as client:
        client.classify(bytes(MEBIBYTE // 2))
    assert queries(limited) == 0


def test_the_server_is_queried_once(limited):
    with Client(limited.target) as client:
        for _ in range(3):
            client.classify(LARGE)
    assert (queries(limited), len(limited.images)) == (1, 3)


def test_the_server_is_queried_once_by_many_threads(limited):
    with Client(limited.target) as client, ThreadPoolExecutor(8) as threads:
        list(threads.map(client.classify, [LARGE] * 8))
    assert (queries(limited), len(limited.images)) == (1, 8)


async def test_the_server_is_queried_once_by_many_tasks(limited):
    async with AsyncClient(limited.target) as client:
        await asyncio.gather(*(client.classify(LARGE) for _ in range(8)))
    assert (queries(limited), len(limited.images)) == (1, 8)


def test_an_image_above_the_servers_limit_is_never_sent(limited):
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


def test_a_lower_limit_of_the_client_holds(limited):
    own = 2 * MEBIBYTE
    sentence = r"above the limit of 2\.0 MiB"
    with Client(limited.target, max_message_bytes=own) as client, pytest.raises(InvalidImage, match=sentence):
        client.classify(LARGE)
    assert limited.requests == []


def test_a_higher_limit_of_the_client_does_not_raise_the_servers(limited):
    with Client(limited.target, max_message_bytes=5 * MEBIBYTE) as client, pytest.raises(InvalidImage):
        client.classify(TOO_LARGE)
    assert limited.images == []


def test_more_than_the_default_limit_is_sent_if_the_server_accepts_it(stub):
    """The stub server accepts 8 MiB whatever it reports: the refusal by its transport shows that the image was sent."""
    limits = messages.ServerLimits(max_message_bytes=64 * MEBIBYTE)
    stub.on_list = lambda request, context: messages.ListModelsResponse(limits=limits)
    with Client(stub.target) as client, pytest.raises(InvalidImage, match="takes no message this large"):
        client.classify(bytes(40 * MEBIBYTE))


def test_a_server_that_reports_no_limit_has_the_default_one(stub):
    with Client(stub.target) as client:
        client.classify(LARGE)
        with pytest.raises(InvalidImage, match=r"above the limit of 32\.0 MiB"):
            client.classify(bytes(33 * MEBIBYTE))
    assert queries(stub) == 1


def test_a_server_without_list_models_is_sent_the_image_anyway(stub):
    stub.on_list = lambda request, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "No such method.")
    with Client(stub.target) as client:
        client.classify(LARGE)
        client.classify(LARGE)
    assert (queries(stub), len(stub.images)) == (1, 2)


def test_a_failed_query_fails_the_call_and_is_repeated_by_the_next(stub):
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
