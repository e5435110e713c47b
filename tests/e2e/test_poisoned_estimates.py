"""One request, or a pause of the machine, does not make the server refuse what it can answer."""

import io
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from PIL import Image
from tests.e2e.forked_server import ForkedServer
from tests.e2e.several_processes import children
from tests.e2e.synthetic_models import request, write_model

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

DEADLINE_SECONDS = 5.0
PAUSE_SECONDS = 2.0
CALLERS = 4
# Long enough for any machine; reached only if the test fails.
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("poisoned")
    write_model(root, "quick", seconds=0.001, config="max_batch_size = 4\n")
    with ForkedServer("--repository", str(root), "--decode-threads", "2") as started:
        yield started


@pytest.fixture
def stub(server: ServerProcess) -> Iterator[ClassifierServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield ClassifierServiceStub(channel)


def webp_of_one_colour(width: int, height: int) -> bytes:
    with io.BytesIO() as file:
        Image.new("L", (width, height)).convert("RGB").save(file, "WEBP", lossless=True, method=0, quality=0)
        return file.getvalue()


def test_a_webp_of_34_bytes_and_50_megapixels_disables_no_model(stub: ClassifierServiceStub, pictures: Path) -> None:
    photograph = v1.Image(encoded=(pictures / "coffee.jpg").read_bytes())
    bomb = webp_of_one_colour(16_383, 3_050)
    assert len(bomb) < 100
    stub.Classify(request("quick", photograph), timeout=DEADLINE_SECONDS)
    stub.Classify(request("quick", v1.Image(encoded=bomb)))  # without a deadline, so that it is admitted
    for _ in range(20):
        stub.Classify(request("quick", photograph), timeout=DEADLINE_SECONDS)


@pytest.mark.slow
def test_a_large_bmp_after_many_small_images_is_admitted(stub: ClassifierServiceStub, pictures: Path) -> None:
    small = v1.Image(encoded=(pictures / "digits" / "7.png").read_bytes())
    for _ in range(300):
        stub.Classify(request("quick", small), timeout=DEADLINE_SECONDS)
    with io.BytesIO() as file:
        Image.new("RGB", (2_400, 1_950)).save(file, "BMP")
        large = file.getvalue()
    for _ in range(5):
        stub.Classify(request("quick", v1.Image(encoded=large)), timeout=DEADLINE_SECONDS)


@pytest.mark.slow
def test_after_a_pause_an_idle_server_refuses_nothing(server: ServerProcess, stub: ClassifierServiceStub) -> None:
    codes: queue.SimpleQueue[grpc.StatusCode] = queue.SimpleQueue()
    is_over = threading.Event()

    def call_on() -> None:
        while not is_over.is_set():
            codes.put(code_of(lambda: stub.Classify(request("quick"), timeout=1.0)))

    def next_codes(count: int) -> list[grpc.StatusCode]:
        return [codes.get(timeout=PATIENCE_SECONDS) for _ in range(count)]

    with ThreadPoolExecutor(CALLERS) as threads:
        for _ in range(CALLERS):
            threads.submit(call_on)
        try:
            next_codes(100)
            send(server, signal.SIGSTOP)
            time.sleep(PAUSE_SECONDS)  # the time that the server stands still
            send(server, signal.SIGCONT)
            next_codes(codes.qsize() + 20)  # those of the pause, and of what is learnt at once
            later = next_codes(200)
        finally:
            is_over.set()
    assert later.count(grpc.StatusCode.OK) >= 0.95 * len(later)


def send(server: ServerProcess, number: signal.Signals) -> None:
    """Sends a signal to all processes of a server."""
    for pid in (server.child.pid, *children(server, "engine"), *children(server, "front_end")):
        os.kill(pid, number)


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    try:
        call()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
        return code
    return grpc.StatusCode.OK
