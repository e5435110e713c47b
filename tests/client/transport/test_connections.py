"""Over how many connections the clients call, as a server sees it."""

import asyncio
import itertools
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from linnaeus.client import AsyncClient, Client, Hedging, ServerFailure, Unavailable
from linnaeus.v1 import classifier_pb2 as messages

TIMEOUT_SECONDS = 60
# One observation and a quantile near 0: every call is late almost at once.
EAGER = Hedging(budget=1, quantile=0.01, least_observations=1, window=1)


class Peers:
    """Counts the calls of each connection; holds the calls whose picture is b"held" until `released` is set."""

    def __init__(self, stub, make_answer) -> None:
        self.calls: Counter[str] = Counter()
        self.released = threading.Event()
        self._begun = threading.Condition()
        self._answer = make_answer
        stub.on_classify = self._classify

    def wait_for(self, calls: int) -> None:
        with self._begun:
            assert self._begun.wait_for(lambda: self.calls.total() == calls, TIMEOUT_SECONDS)

    def _classify(self, request, context):
        with self._begun:
            self.calls[context.peer()] += 1
            self._begun.notify_all()
        if request.image.encoded == b"held":
            self.released.wait(TIMEOUT_SECONDS)
        return self._answer(request)


@pytest.fixture
def peers(stub, make_answer):
    peers = Peers(stub, make_answer)
    yield peers
    peers.released.set()


@pytest.fixture
def late(stub, peers):
    """Holds every first attempt with the picture b"late" until it is cancelled."""
    answers, attempts = stub.on_classify, itertools.count()

    def held(request, context):
        gone = threading.Event()
        if request.image.encoded == b"late" and next(attempts) % 2 == 0 and context.add_callback(gone.set):
            gone.wait(TIMEOUT_SECONDS)
        return answers(request, context)

    stub.on_classify = held
    return peers


def tell(stub, connections: int) -> None:
    limits = messages.ServerLimits(connections=connections)
    stub.on_list = lambda request, context: messages.ListModelsResponse(limits=limits)


def queries(stub) -> int:
    return sum(isinstance(request, messages.ListModelsRequest) for request in stub.requests)


def hold(client, pool, peers, calls: int) -> None:
    """Begins calls one after another, which all stay in flight."""
    for _ in range(calls):
        begun = peers.calls.total()
        pool.submit(client.classify, b"held", timeout_seconds=TIMEOUT_SECONDS)
        peers.wait_for(begun + 1)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.mark.parametrize("connections", ["auto", 8])
def test_one_call_at_a_time_uses_one_connection_and_asks_nothing(stub, peers, connections):
    tell(stub, 8)
    with Client(stub.target, connections=connections) as client:
        for _ in range(5):
            client.classify(b"a picture")
    assert (list(peers.calls.values()), queries(stub)) == ([5], 0)


def test_calls_that_overlap_use_as_many_connections_as_the_server_tells(stub, peers, pool):
    tell(stub, 3)
    with Client(stub.target) as client:
        hold(client, pool, peers, 7)
        peers.released.set()
    assert (sorted(peers.calls.values()), queries(stub)) == ([2, 2, 3], 1)


async def test_those_of_tasks_do_so_too(stub, peers):
    tell(stub, 3)
    async with AsyncClient(stub.target) as client, asyncio.TaskGroup() as tasks:
        for begun in range(7):
            tasks.create_task(client.classify(b"held", timeout_seconds=TIMEOUT_SECONDS))
            await asyncio.to_thread(peers.wait_for, begun + 1)
        peers.released.set()
    assert (sorted(peers.calls.values()), queries(stub)) == ([2, 2, 3], 1)


def test_a_number_is_used_without_asking(stub, peers, pool):
    with Client(stub.target, connections=4) as client:
        hold(client, pool, peers, 8)
        peers.released.set()
    assert (list(peers.calls.values()), queries(stub)) == ([2, 2, 2, 2], 0)


def test_two_clients_share_no_connection(stub, peers):
    with Client(stub.target) as one, Client(stub.target) as other:
        one.classify(b"a picture")
        other.classify(b"a picture")
    assert len(peers.calls) == 2


@pytest.mark.parametrize("code", [None, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED])
def test_a_server_that_tells_no_number_gets_one_connection_and_is_asked_once(stub, peers, pool, code):
    if code is not None:
        stub.on_list = lambda request, context: context.abort(code, "no")
    with Client(stub.target) as client:
        hold(client, pool, peers, 4)
        peers.released.set()
    assert (list(peers.calls.values()), queries(stub)) == ([4], 1)


def test_a_server_that_cannot_tell_now_is_asked_again(stub, peers, pool):
    def loading(request, context):
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "loading")

    stub.on_list = loading
    with Client(stub.target) as client:
        hold(client, pool, peers, 2)
        assert len(peers.calls) == 1
        tell(stub, 2)
        hold(client, pool, peers, 1)
        peers.released.set()
    assert (sorted(peers.calls.values()), queries(stub)) == ([1, 2], 2)


def test_the_question_takes_at_most_half_of_the_time_of_the_call_that_asks(stub, peers, pool):
    tell(stub, 2)
    with Client(stub.target) as client:
        hold(client, pool, peers, 2)
        peers.released.set()
    (question,) = (
        seconds
        for request, seconds in zip(stub.requests, stub.seconds_remaining, strict=True)
        if isinstance(request, messages.ListModelsRequest)
    )
    assert question < 0.6 * TIMEOUT_SECONDS, "gRPC rounds up"


def test_limits_that_were_asked_for_a_large_picture_tell_the_number_too(stub, peers, pool):
    tell(stub, 2)
    with Client(stub.target) as client:
        client.classify(bytes(2_000_000))
        hold(client, pool, peers, 2)
        peers.released.set()
    assert (len(peers.calls), queries(stub)) == (2, 1)


def test_a_stream_counts_as_one_call(stub, peers):
    seen = []

    def answered(requests, context):
        seen.append(context.peer())
        return map(stub.stream_answer, requests)

    stub.on_stream = answered
    with Client(stub.target, connections=2) as client:
        outcomes = client.classify_stream([b"a", b"b", b"c"], concurrency=3)
        next(outcomes)
        client.classify(b"a picture")
        assert list(peers.calls) != seen, "while the stream is open"
        outcomes.close()
        client.classify(b"a picture")
    assert peers.calls[seen[0]] == 1, "once it is closed"


async def test_it_does_so_in_the_asyncio_client(stub, peers):
    seen = []

    def answered(requests, context):
        seen.append(context.peer())
        return map(stub.stream_answer, requests)

    stub.on_stream = answered
    async with AsyncClient(stub.target, connections=2) as client:
        outcomes = client.classify_stream([b"a", b"b", b"c"], concurrency=3)
        await anext(outcomes)
        await client.classify(b"a picture")
        assert list(peers.calls) != seen, "while the stream is open"
        await outcomes.aclose()
        await client.classify(b"a picture")
    assert peers.calls[seen[0]] == 1, "once it is closed"


def test_hedged_attempts_count_no_more_once_they_have_ended(stub, late):
    with Client(stub.target, connections=16, hedging=EAGER, timeout_seconds=TIMEOUT_SECONDS) as client:
        client.classify(b"a picture")
        for _ in range(20):
            client.classify(b"late")
        assert client.hedges.hedged == 20
    assert 2 <= len(late.calls) < 8, "one attempt may still be ending while the next call begins"


def test_a_call_that_has_failed_counts_no_more(stub, peers):
    with Client(stub.target, connections=4) as client:
        client.classify(b"a picture")
        answers = stub.on_classify
        stub.fail(grpc.StatusCode.INTERNAL, "broken")
        with pytest.raises(ServerFailure):
            client.classify(b"a picture")
        stub.on_classify = answers
        client.classify(b"a picture")
    assert list(peers.calls.values()) == [2]


async def test_hedged_attempts_of_tasks_count_no_more_once_they_have_ended(stub, late):
    async with AsyncClient(stub.target, connections=16, hedging=EAGER, timeout_seconds=TIMEOUT_SECONDS) as client:
        await client.classify(b"a picture")
        for _ in range(20):
            await client.classify(b"late")
        assert client.hedges.hedged == 20
    assert 2 <= len(late.calls) < 8, "one attempt may still be ending while the next call begins"


async def test_a_cancelled_call_counts_no_more(stub, peers):
    async with AsyncClient(stub.target, connections=4, timeout_seconds=TIMEOUT_SECONDS) as client:
        await client.classify(b"a picture")
        for begun in range(1, 5):
            call = asyncio.create_task(client.classify(b"held"))
            await asyncio.to_thread(peers.wait_for, begun + 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    assert list(peers.calls.values()) == [5]


def test_closing_ends_the_calls_of_every_connection(stub, peers, pool):
    client = Client(stub.target, connections=3)
    calls = []
    for begun in range(3):
        calls.append(pool.submit(client.classify, b"held", timeout_seconds=TIMEOUT_SECONDS))
        peers.wait_for(begun + 1)
    assert len(peers.calls) == 3
    client.close()
    for call in calls:
        assert call.exception(TIMEOUT_SECONDS) is not None
    with pytest.raises(RuntimeError, match="this Client is closed"):
        client.classify(b"a picture")


def test_a_server_that_is_gone_is_reported_by_every_call(silent_target, pool):
    with Client(silent_target, connections=4) as client:
        calls = [pool.submit(client.classify, b"a picture") for _ in range(8)]
        assert all(isinstance(call.exception(TIMEOUT_SECONDS), Unavailable) for call in calls)
