"""A real server process on ports of its own, and generated stubs to call it."""

import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

MEBIBYTE = 1 << 20


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[ServerProcess]:
    """A server shared by all tests that do not change it."""
    with ServerProcess("--repository", str(repository), "--http-port", "0") as process:
        yield process


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target, [("grpc.max_send_message_length", 64 * MEBIBYTE)]) as made:
        yield made


@pytest.fixture
def stub(channel: grpc.Channel) -> v1_grpc.ClassifierServiceStub:
    return v1_grpc.ClassifierServiceStub(channel)


@pytest.fixture
def metric(server: ServerProcess) -> Callable[..., float]:
    """Returns a function that scrapes and sums the samples of a metric with the given labels."""

    def read(name: str, **labels: str) -> float:
        with urllib.request.urlopen(server.metrics_url, timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        samples = [re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line) for line in lines]
        return sum(float(found[2]) for found in samples if found and wanted <= set((found[1] or "").split(",")))

    return read


@pytest.fixture
def classify(stub: v1_grpc.ClassifierServiceStub) -> Callable[..., v1.ClassifyResponse]:
    """Returns a function that classifies one encoded picture."""

    def send(encoded: bytes, model: str = "efficientnet_lite0", **fields: object) -> v1.ClassifyResponse:
        request = v1.ClassifyRequest(image=v1.Image(encoded=encoded), model=model, **fields)
        return stub.Classify(request, timeout=30)

    return send
