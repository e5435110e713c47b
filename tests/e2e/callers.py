"""Calls without the client library: their outcomes, and a separate process with many calls that can be killed.

As a program it takes TARGET MODEL COUNT, sends that many calls without a deadline at once, and waits for all.
"""

import asyncio
import re
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.e2e.forked_server import ForkedServer

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of a call: an answer, or a status code with its error."""

    code: grpc.StatusCode
    answer: v1.ClassifyResponse | None = None
    error: grpc.aio.AioRpcError | None = None

    def detail(self, kind: type[Kind]) -> Kind | None:
        """Returns the error's google.rpc detail of this type; None without one, as at the client's own deadline."""
        status = rpc_status.from_call(self.error) if self.error else None
        detail = kind()
        return detail if status and any(each.Unpack(detail) for each in status.details) else None

    @property
    def refusal(self) -> error_details_pb2.ErrorInfo | None:
        """The server's ErrorInfo; None if the error has none."""
        return self.detail(error_details_pb2.ErrorInfo)


async def call(stub: ClassifierServiceStub, request: v1.ClassifyRequest, timeout: float | None = None) -> Reply:
    """Makes one call; returns an error as a reply."""
    try:
        return Reply(grpc.StatusCode.OK, await stub.Classify(request, timeout=timeout))
    except grpc.aio.AioRpcError as error:
        return Reply(error.code(), error=error)


def wait_for_metric(server: ServerProcess, name: str, is_reached: Callable[[float], bool]) -> None:
    """Scrapes until the sum of a metric's samples satisfies `is_reached`; the test's timeout bounds the wait."""
    while True:
        with urllib.request.urlopen(server.metrics_url, timeout=30) as page:
            samples = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page.read().decode(), re.MULTILINE)
        if samples and is_reached(sum(map(float, samples))):
            return


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[ServerProcess]:
    """Starts a server for `folder`/models that writes its event log to `folder`/trace."""
    arguments = ["--repository", str(folder / "models"), "--trace", str(folder / "trace"), *flags]
    with ForkedServer(*arguments) as server:
        yield server


async def burst(server: ServerProcess, requests: list[v1.ClassifyRequest]) -> list[Reply]:
    """Sends all requests at once, in order, without a deadline."""
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        return list(await asyncio.gather(*(call(stub, each) for each in requests)))


async def _crowd(target: str, model: str, count: int) -> None:
    pixels = v1.RawPixels(data=bytes(64), height=8, width=8, channels=1)
    request = v1.ClassifyRequest(image=v1.Image(pixels=pixels), model=model)
    async with grpc.aio.insecure_channel(target) as channel:
        stub = ClassifierServiceStub(channel)
        await asyncio.gather(*(call(stub, request) for _ in range(count)))


if __name__ == "__main__":
    asyncio.run(_crowd(sys.argv[1], sys.argv[2], int(sys.argv[3])))
