"""A server of several processes, one of which may have no more memory: an error for one call, answers for others."""

import contextlib
import io
import resource
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from PIL import Image
from tests.e2e.several_processes import children, digit

from linnaeus.client import Client, ModelRefused
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.slow
# Enough for what a process does besides, such as starting two threads, whose stacks have 8 MiB each; less than what is
# asked for: 144 MB of pixels, or a model.
SPARE_BYTES = 32 << 20


@contextlib.contextmanager
def short_of_memory(pids: list[int]) -> Iterator[None]:
    """Lets processes have hardly more memory than they have."""
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        (kilobytes,) = [int(line.split()[1]) for line in lines if line.startswith("VmData:")]
        resource.prlimit(pid, resource.RLIMIT_DATA, ((kilobytes << 10) + SPARE_BYTES, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    models = ("--models", "lenet", "--model-control", "explicit")
    with ServerProcess("--repository", str(repository), *models, "--front-ends", "2") as started:
        with Client(started.target, timeout_seconds=60.0) as client:
            client.load_model("lenet")
        yield started


def test_a_picture_that_a_front_end_has_no_memory_for_is_an_error_of_its_own_call(server: ServerProcess) -> None:
    with io.BytesIO() as file:
        Image.new("RGB", (8_000, 6_000)).save(file, "PNG")
        large = v1.ClassifyRequest(model="lenet", image=v1.Image(encoded=file.getvalue()))
    pixels = v1.RawPixels(data=digit().tobytes(), height=28, width=28, channels=1)
    small = v1.ClassifyRequest(model="lenet", image=v1.Image(pixels=pixels))
    front_ends = children(server, "front_end")
    with grpc.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        stub.Classify(small, timeout=60)
        with short_of_memory(front_ends):
            with pytest.raises(grpc.RpcError, match="decoding failed .log reference") as raised:
                stub.Classify(large, timeout=60)
            assert raised.value.code() is grpc.StatusCode.INTERNAL
            assert stub.Classify(small, timeout=60).model == "lenet"
        assert stub.Classify(large, timeout=60).model == "lenet"
    assert children(server, "front_end") == front_ends


def test_a_model_that_the_engine_has_no_memory_for_is_refused_and_the_others_are_served(server: ServerProcess) -> None:
    engine = children(server, "engine")
    with Client(server.target, timeout_seconds=60.0) as client:
        with short_of_memory(engine):
            with pytest.raises(ModelRefused, match="what was served before is served still: .*memory"):
                client.load_model("efficientnet_lite0")
            assert client.classify(digit(), model="lenet").model == "lenet"
        (loaded,) = client.load_model("efficientnet_lite0")
        assert loaded.name == "efficientnet_lite0"
    assert children(server, "engine") == engine
