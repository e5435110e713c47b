"""The light callers of the overload benchmark: deadlines, refusals, cancelling, and every call once."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest

from benchmarks.overload.grpc_callers import Crowd
from benchmarks.overload.light_callers import CANCELLED, OK, REFUSED, cancelling, closed_loop, open_loop
from benchmarks.overload.rejecting_server import bare_server
from benchmarks.peers.http2_connection import Connection
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

LARGE = 300_000  # more than a stream's first window
DEADLINE_SECONDS = 20.0


class Service(v1_grpc.ClassifierServiceServicer):
    """Answers `m`, refuses `full`, never answers `stuck` until its caller has left."""

    def __init__(self) -> None:
        self.left = threading.Semaphore(0)
        self.seconds: list[float] = []
        self.pictures: list[bytes] = []

    def Classify(self, request: v1.ClassifyRequest, context: grpc.ServicerContext) -> v1.ClassifyResponse:
        self.seconds.append(context.time_remaining())
        self.pictures.append(request.image.encoded)
        if request.model == "full":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")
        if request.model == "stuck":
            gone = threading.Event()
            if context.add_callback(gone.set):
                assert gone.wait(30)
            self.left.release()
        return v1.ClassifyResponse(model=request.model)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def crowd(service: Service) -> Iterator[Crowd]:
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        v1_grpc.add_ClassifierServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        pictures = (b"a", b"b" * LARGE)
        yield Crowd(
            target=f"127.0.0.1:{port}",
            model="m",
            pictures=pictures,
            start=time.monotonic(),
            seconds=0.3,
            deadline_seconds=DEADLINE_SECONDS,
        )
        server.stop(None).wait()


def test_every_caller_of_a_closed_loop_is_answered_again_and_again(crowd: Crowd, service: Service) -> None:
    calls = closed_loop(crowd, 3)
    assert len(calls) >= 3 and {each.code for each in calls} == {OK}
    assert all(each.intended <= each.ended for each in calls)
    assert len(service.pictures) == len(calls) and set(service.pictures) == set(crowd.pictures)


def test_the_server_is_told_the_deadline(crowd: Crowd, service: Service) -> None:
    closed_loop(crowd, 1)
    assert all(0 < seconds <= DEADLINE_SECONDS for seconds in service.seconds)


def test_a_refused_call_is_told_from_an_answer(crowd: Crowd) -> None:
    calls = open_loop(replace(crowd, model="full"), 100.0)
    assert calls and {each.code for each in calls} == {REFUSED}


def test_every_call_of_an_open_loop_ends_once_and_leaves_at_a_moment_of_the_plan(
    crowd: Crowd, service: Service
) -> None:
    calls = open_loop(crowd, 200.0)
    assert {each.code for each in calls} == {OK} and len(service.pictures) == len(calls)
    assert all(crowd.start < each.intended < crowd.start + crowd.seconds for each in calls)
    again = open_loop(crowd, 200.0)
    assert sorted(each.intended for each in calls) == sorted(each.intended for each in again)


def test_the_bare_server_refuses_every_call(crowd: Crowd) -> None:
    with bare_server() as target:
        calls = open_loop(replace(crowd, target=target, start=time.monotonic()), 50.0)
    assert calls and {each.code for each in calls} == {REFUSED}


def test_who_gives_up_is_gone_for_the_server_too(crowd: Crowd, service: Service) -> None:
    calls = cancelling(replace(crowd, model="stuck"), 2, 0.05)
    assert calls and {each.code for each in calls} == {CANCELLED}
    assert service.left.acquire(timeout=30)


def test_what_is_never_answered_ends_as_refused(crowd: Crowd) -> None:
    calls = open_loop(replace(crowd, model="stuck", deadline_seconds=0.1), 20.0)
    assert calls and {each.code for each in calls} == {REFUSED}


def test_nothing_more_is_told_of_a_call_that_was_given_up(crowd: Crowd) -> None:
    path = "/linnaeus.v1.ClassifierService/Classify"
    with Connection(crowd.target, path) as connection:
        message = v1.ClassifyRequest(model="m", image=v1.Image(encoded=b"x" * LARGE)).SerializeToString()
        first, second = connection.open(), connection.open()
        connection.send(first, message, last=True)
        connection.cancel(first)
        connection.send(second, message, last=True)
        heard = []
        while not heard or heard[-1].message is not None:
            heard += connection.receive()
    assert {event.stream for event in heard} == {second} and heard[0].message is not None


def test_nothing_comes_where_nothing_was_asked(crowd: Crowd) -> None:
    with Connection(crowd.target, "/linnaeus.v1.ClassifierService/Classify") as connection:
        for _ in range(3):  # the server's settings, and our acknowledgement of them
            assert not list(connection.receive(0.0))
