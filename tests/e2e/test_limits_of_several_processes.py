"""A caller's rate holds for the whole server, however many of its front ends the caller's connections meet."""

import concurrent.futures
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.e2e.several_processes import calls_begun, children, digit, start, until

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

BURST = 10
CALLS = 40
CONNECTIONS = 20
# So slow that no further call is allowed while the test runs.
RATE = "0.001"

pytestmark = pytest.mark.slow


@pytest.fixture
def limited(repository: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    tokens = tmp_path / "tokens"
    tokens.write_text("one infer the-token-of-the-first-caller\nother infer the-token-of-another-caller\n")
    options = ("--rate-limit", RATE, "--rate-burst", str(BURST), "--token-file", str(tokens), "--insecure")
    with start(repository, *options) as server:
        yield server


class Connections:
    """Connections of one caller, which the kernel deals out to the front ends."""

    def __init__(self, server: ServerProcess, token: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        self._metadata = [("authorization", f"Bearer {token}")]
        self._open = contextlib.ExitStack()
        self._stubs = [
            ClassifierServiceStub(self._open.enter_context(grpc.insecure_channel(server.target, options)))
            for _ in range(CONNECTIONS)
        ]
        self._request = v1.ClassifyRequest(model="lenet")
        self._request.image.pixels.CopyFrom(v1.RawPixels(data=digit().tobytes(), height=28, width=28, channels=1))

    def __enter__(self) -> "Connections":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def begin(self, number: int) -> Any:
        """Begins a call on one of the connections."""
        stub = self._stubs[number % CONNECTIONS]
        return stub.Classify.future(self._request, timeout=60, metadata=self._metadata)

    def codes(self, calls: int) -> Counter[grpc.StatusCode]:
        """Returns how many of so many calls, all at once over all connections, ended with each status."""
        with concurrent.futures.ThreadPoolExecutor(CALLS) as pool:
            return Counter(pool.map(lambda number: self.begin(number).code(), range(calls)))


def test_a_caller_with_many_connections_gets_its_rate_once_and_another_its_own(limited: ServerProcess) -> None:
    with Connections(limited, "the-token-of-the-first-caller") as one:
        refused = grpc.StatusCode.RESOURCE_EXHAUSTED
        assert one.codes(CALLS) == {grpc.StatusCode.OK: BURST, refused: CALLS - BURST}
        refusal = one.begin(0).exception(timeout=60)
    assert isinstance(refusal, grpc.RpcError)
    assert "this caller may ask 0.001 times a second" in refusal.details()
    assert b"google.rpc.RetryInfo" in dict(refusal.trailing_metadata())["grpc-status-details-bin"]
    with Connections(limited, "the-token-of-another-caller") as other:
        assert other.codes(BURST) == {grpc.StatusCode.OK: BURST}


def test_calls_that_wait_for_their_charge_end_with_the_engine(limited: ServerProcess) -> None:
    with Connections(limited, "the-token-of-the-first-caller") as one:
        assert one.begin(0).code() is grpc.StatusCode.OK
        (engine,) = children(limited, "engine")
        begun = calls_begun(limited)
        os.kill(engine, signal.SIGSTOP)
        held = [one.begin(number) for number in range(CALLS)]
        until(lambda: calls_begun(limited) == begun + CALLS)
        os.kill(engine, signal.SIGKILL)
        for call in held:
            error = call.exception(timeout=60)
            assert isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE
            assert b"google.rpc.RetryInfo" in dict(error.trailing_metadata())["grpc-status-details-bin"]
