"""Callers on gRPC's own client: each call once, cancelled calls reach the server, phases change the images."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest

from benchmarks.overload.grpc_callers import OK, LoadSpec, cancelling, open_loop
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

DEADLINE_SECONDS = 20.0


class Service(v1_grpc.ClassifierServiceServicer):
    """Answers `m`, refuses `full`, never answers `stuck` until its caller has left."""

    def __init__(self) -> None:
        self.left = threading.Semaphore(0)
        self.seconds: list[float] = []
        self.images: list[bytes] = []

    def Classify(self, request: v1.ClassifyRequest, context: grpc.ServicerContext) -> v1.ClassifyResponse:
        self.seconds.append(context.time_remaining())
        self.images.append(request.image.encoded)
        if request.model == "full":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more")
        if request.model == "stuck":
            ended = threading.Event()
            if context.add_callback(ended.set):
                assert ended.wait(30)
            self.left.release()
        return v1.ClassifyResponse(model=request.model)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def load(service: Service) -> Iterator[LoadSpec]:
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        v1_grpc.add_ClassifierServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield LoadSpec(
            target=f"127.0.0.1:{port}",
            model="m",
            images=(b"a", b"b"),
            start=time.monotonic() + 0.1,
            seconds=0.3,
            deadline_seconds=DEADLINE_SECONDS,
        )
        server.stop(None).wait()


def test_the_server_is_told_the_deadline(load: LoadSpec, service: Service) -> None:
    open_loop(load, 100.0)
    # gRPC rounds a deadline up to three digits.
    assert service.seconds and all(0 < seconds < 1.01 * DEADLINE_SECONDS for seconds in service.seconds)


def test_a_refused_call_is_told_from_an_answer(load: LoadSpec) -> None:
    calls = open_loop(replace(load, model="full"), 100.0)
    assert calls and {each.code for each in calls} == {"RESOURCE_EXHAUSTED"}


def test_every_call_of_an_open_loop_ends_once_and_leaves_at_a_moment_of_the_plan(
    load: LoadSpec, service: Service
) -> None:
    calls = open_loop(load, 200.0)
    assert {each.code for each in calls} == {OK} and len(service.images) == len(calls)
    assert all(load.start < each.intended < load.start + load.seconds for each in calls)
    again = open_loop(load, 200.0)
    assert sorted(each.intended for each in calls) == sorted(each.intended for each in again)


def test_each_phase_has_its_own_images(load: LoadSpec, service: Service) -> None:
    calls = open_loop(load, 200.0, (0.15,))
    first = sum(each.intended < load.start + 0.15 for each in calls)
    assert 0 < first < len(calls)
    assert (service.images.count(b"a"), service.images.count(b"b")) == (first, len(calls) - first)


def test_a_cancelled_call_has_ended_for_the_server_too(load: LoadSpec, service: Service) -> None:
    calls = cancelling(replace(load, model="stuck"), 2, 0.05)
    assert calls and {each.code for each in calls} == {"CANCELLED"}
    assert service.left.acquire(timeout=30)


def test_what_is_never_answered_ends_at_its_deadline(load: LoadSpec) -> None:
    calls = open_loop(replace(load, model="stuck", deadline_seconds=0.1), 20.0)
    assert calls and {each.code for each in calls} == {"DEADLINE_EXCEEDED"}
