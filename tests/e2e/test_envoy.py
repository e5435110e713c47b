"""Envoy in front of a server with two front ends, as docs/operations.md has it configured."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tests.e2e.several_processes import children, connections, digit, get, start, until
from tests.programs import ENVOY

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.needs(program="envoy")
CONFIGURATION = Path(__file__).with_name("envoy.json")
CALLERS = 32


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    with start(repository) as started:
        yield started


@pytest.fixture
def stub(server: ServerProcess, socket_folder: Path) -> Iterator[ClassifierServiceStub]:
    """A stub of a channel to Envoy, which has one thread: several would open more connections."""
    configuration = socket_folder / "envoy.json"
    text = CONFIGURATION.read_text(encoding="utf-8").replace("FOLDER", str(socket_folder))
    configuration.write_text(text.replace('"PORT"', str(server.port)), encoding="utf-8")
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    with subprocess.Popen([str(ENVOY), "--config-path", str(configuration), *options]) as envoy:
        try:
            with grpc.insecure_channel(f"unix:{socket_folder}/socket") as channel:
                grpc.channel_ready_future(channel).result(timeout=60)
                yield ClassifierServiceStub(channel)
        finally:
            envoy.terminate()


def image() -> v1.Image:
    return v1.Image(pixels=v1.RawPixels(data=digit().tobytes(), height=28, width=28, channels=1))


class Callers:
    """Many callers of one channel; they may be stopped once."""

    def __init__(self, stub: ClassifierServiceStub) -> None:
        self.answers = 0
        self._stub = stub
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(CALLERS)
        self._running = [self._pool.submit(self._call_on) for _ in range(CALLERS)]

    def wait_for_more(self) -> None:
        """Waits until further calls were answered, or one has failed."""
        answers = self.answers
        until(lambda: self.answers > answers + 20 * CALLERS or any(each.done() for each in self._running))

    def stop(self) -> None:
        """Ends the calls; raises what one of them raised."""
        self._stopped.set()
        for each in self._running:
            each.result(60)
        self._pool.shutdown()

    def _call_on(self) -> None:
        while not self._stopped.is_set():
            self._stub.Classify(v1.ClassifyRequest(image=image(), model="lenet"), timeout=60)
            self.answers += 1


def test_envoy_passes_single_calls_and_streams_on(stub: ClassifierServiceStub) -> None:
    assert stub.Classify(v1.ClassifyRequest(image=image(), model="lenet"), timeout=60).model == "lenet"
    asked = [v1.StreamClassifyRequest(correlation_id=each, image=image(), model="lenet") for each in range(20)]
    answers = list(stub.StreamClassify(iter(asked), timeout=60))
    assert sorted(each.correlation_id for each in answers) == list(range(20))
    assert all(each.result.HasField("classification") for each in answers)


def test_envoy_opens_connections_to_every_front_end(server: ServerProcess, stub: ClassifierServiceStub) -> None:
    callers = Callers(stub)
    until(lambda: all(connections(server).values()))
    callers.stop()


def test_the_death_of_a_front_end_behind_envoy_costs_no_call(
    server: ServerProcess, stub: ClassifierServiceStub
) -> None:
    callers = Callers(stub)
    callers.wait_for_more()
    victim = children(server, "front_end")[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in (now := children(server, "front_end")) and len(now) == 2)
    until(lambda: get(server, "/readyz")[0] == 200)
    callers.wait_for_more()
    callers.stop()
