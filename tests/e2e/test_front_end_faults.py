"""A server of several processes, one of which stands still for a while: the others and their callers go on."""

import contextlib
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from PIL import Image
from tests.e2e.several_processes import children, digit, get, metric, start, until

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.slow
STILL_SECONDS = 5.0
# Longer than a process stands still: calls with it are answered afterwards.
PATIENCE_SECONDS = 40.0
CHANNELS = 12


@pytest.fixture(scope="module")
def shared(repository: Path) -> Iterator[ServerProcess]:
    with start(repository, "--decode-threads", "2") as process:
        yield process


@pytest.fixture
def server(shared: ServerProcess) -> ServerProcess:
    """The shared server, idle, with all its processes."""
    until(lambda: get(shared, "/readyz")[0] == 200 and len(children(shared, "front_end")) == 2)
    until(lambda: metric(shared, "linnaeus_in_flight") == 0)
    return shared


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """Stops a process, and lets it go on at the end in any case."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def pause() -> None:
    """Waits for as long as a process is to stand still."""
    threading.Event().wait(STILL_SECONDS)


def large_png() -> v1.Image:
    """Returns a picture that takes a decoder some ten milliseconds."""
    with io.BytesIO() as file:
        Image.effect_noise((1_000, 1_000), 60).save(file, "PNG", compress_level=1)
        return v1.Image(encoded=file.getvalue())


def pixels() -> v1.Image:
    return v1.Image(pixels=v1.RawPixels(data=digit().tobytes(), height=28, width=28, channels=1))


@dataclass(frozen=True, slots=True)
class Outcome:
    began: float
    ended: float
    code: grpc.StatusCode


class Channels:
    """Callers, each with a connection of its own that it repeats a call on; they may be stopped once."""

    def __init__(self, server: ServerProcess, image: v1.Image, timeout: float = PATIENCE_SECONDS) -> None:
        self.outcomes: list[list[Outcome]] = [[] for _ in range(CHANNELS)]
        self._request = v1.ClassifyRequest(model="lenet", image=image)
        self._target, self._timeout = server.target, timeout
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(CHANNELS)
        self._running = [self._pool.submit(self._call_on, outcomes) for outcomes in self.outcomes]

    def wait_for_more(self) -> None:
        """Waits until every caller has had further answers."""
        had = [len(outcomes) for outcomes in self.outcomes]
        until(lambda: all(len(outcomes) > before + 3 for outcomes, before in zip(self.outcomes, had, strict=True)))

    def stop(self) -> None:
        self._stopped.set()
        for each in self._running:
            each.result(60)
        self._pool.shutdown()

    def _call_on(self, outcomes: list[Outcome]) -> None:
        with grpc.insecure_channel(self._target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = ClassifierServiceStub(channel)
            while not self._stopped.is_set():
                began = time.monotonic()
                code = code_of(stub.Classify.future(self._request, timeout=self._timeout))
                outcomes.append(Outcome(began, time.monotonic(), code))


def code_of(call: grpc.Future) -> grpc.StatusCode:
    error = call.exception(timeout=60)
    if error is None:
        return grpc.StatusCode.OK
    code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
    return code


@pytest.mark.parametrize("image", [pixels, large_png])
def test_a_front_end_that_stands_still_holds_up_its_own_connections_alone(
    server: ServerProcess, image: Callable[[], v1.Image]
) -> None:
    channels = Channels(server, image())
    channels.wait_for_more()
    with standing_still(children(server, "front_end")[0]):
        began = time.monotonic()
        pause()
        ended = time.monotonic()
    channels.wait_for_more()
    channels.stop()
    meanwhile = [sum(began < each.ended < ended for each in outcomes) for outcomes in channels.outcomes]
    assert {each.code for outcomes in channels.outcomes for each in outcomes} == {grpc.StatusCode.OK}
    assert max(meanwhile) > 20, meanwhile
    until(lambda: metric(server, "linnaeus_in_flight") == 0)
    assert not metric(server, "linnaeus_process_restarts_total")


def test_calls_of_a_front_end_that_stands_still_end_by_their_deadlines(server: ServerProcess) -> None:
    channels = Channels(server, large_png(), timeout=2.0)
    channels.wait_for_more()
    with standing_still(children(server, "front_end")[0]):
        pause()
    channels.wait_for_more()
    channels.stop()
    outcomes = [each for outcomes in channels.outcomes for each in outcomes]
    assert {each.code for each in outcomes} == {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert max(each.ended - each.began for each in outcomes) < 4.0
    until(lambda: metric(server, "linnaeus_in_flight") == 0)


def test_while_the_engine_stands_still_deadlines_hold_and_the_http_port_answers(server: ServerProcess) -> None:
    stream = [v1.StreamClassifyRequest(correlation_id=1, image=pixels(), model="lenet", timeout_seconds=1.0)]
    with grpc.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        request = v1.ClassifyRequest(model="lenet", image=pixels())
        stub.Classify(request, timeout=PATIENCE_SECONDS)
        with standing_still(children(server, "engine")[0]):
            began = time.monotonic()
            assert code_of(stub.Classify.future(request, timeout=0.5)) is grpc.StatusCode.DEADLINE_EXCEEDED
            (answer,) = stub.StreamClassify(iter(stream), timeout=PATIENCE_SECONDS)
            assert answer.result.error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
            assert time.monotonic() - began < STILL_SECONDS, "the front end ends them by itself"
            asked = time.monotonic()
            assert get(server, "/livez")[0] == 200 and "linnaeus_batch_size" in get(server, "/metrics")[1]
            assert time.monotonic() - asked < 1.0
            pause()
            assert get(server, "/readyz") == (503, "the engine does not respond\n")
        until(lambda: get(server, "/readyz")[0] == 200)
        assert not metric(server, "linnaeus_process_restarts_total")


def test_after_the_engine_stood_still_little_is_refused(server: ServerProcess) -> None:
    channels = Channels(server, pixels(), timeout=1.0)
    channels.wait_for_more()
    with standing_still(children(server, "engine")[0]):
        pause()
    ended = time.monotonic()
    until(lambda: time.monotonic() > ended + 2.0)
    channels.wait_for_more()
    channels.stop()
    later = [each.code for outcomes in channels.outcomes for each in outcomes if each.began > ended + 2.0]
    assert later.count(grpc.StatusCode.OK) >= 0.95 * len(later)


def test_nobody_notices_that_the_supervisor_stands_still(server: ServerProcess) -> None:
    channels = Channels(server, pixels())
    channels.wait_for_more()
    with standing_still(server.child.pid):
        channels.wait_for_more()
        pause()
        channels.wait_for_more()
    channels.stop()
    assert {each.code for outcomes in channels.outcomes for each in outcomes} == {grpc.StatusCode.OK}
    assert get(server, "/readyz")[0] == 200
    assert not metric(server, "linnaeus_process_restarts_total")
