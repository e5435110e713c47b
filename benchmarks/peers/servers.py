"""The two servers, each with one model: started, described in the same way, and stopped."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy

from benchmarks.common.process_usage import processor_seconds
from benchmarks.peers.request_bodies import Subject, kserve_requests, probabilities
from benchmarks.peers.triton_repository import Tuning, write_backends, write_repository
from benchmarks.peers.triton_server import Triton, TritonProcess
from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.rpc.child_server import ServerProcess

LINNAEUS, TRITON = "Linnaeus", "tritonserver"
# What a probability may differ by: the two decode, resize and crop in another order.
TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Contender:
    """A running server.

    Attributes:
        name: as it is printed.
        target: where its gRPC listens.
        process: its id; further processes are below it.
        start_seconds: from its start until it served.
        channel: a connection of the bench's own, not for the load.
    """

    name: str
    target: str
    process: int
    start_seconds: float
    channel: grpc.Channel

    def infer(self, request: kserve.ModelInferRequest) -> kserve.ModelInferResponse:
        """One KServe call."""
        call = self.channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=kserve.ModelInferRequest.SerializeToString,
            response_deserializer=kserve.ModelInferResponse.FromString,
        )
        answer: kserve.ModelInferResponse = call(request, timeout=30)
        return answer

    def images_and_runs(self) -> tuple[int, int]:
        """How many images its model answered since the start, and in how many batches."""
        call = self.channel.unary_unary(
            "/inference.GRPCInferenceService/ModelStatistics",
            request_serializer=kserve.ModelStatisticsRequest.SerializeToString,
            response_deserializer=kserve.ModelStatisticsResponse.FromString,
        )
        told: kserve.ModelStatisticsResponse = call(kserve.ModelStatisticsRequest(), timeout=30)
        return sum(each.inference_count for each in told.model_stats), sum(
            each.execution_count for each in told.model_stats
        )

    def idle_cores(self, seconds: float = 1.5) -> float:
        """How many cores it keeps busy while nobody calls."""
        before = processor_seconds(self.process)
        time.sleep(seconds)
        return (processor_seconds(self.process) - before) / seconds


@contextmanager
def linnaeus(version: Path) -> Iterator[Contender]:
    """Linnaeus as `linnaeus-server` starts it, with one model."""
    started = time.perf_counter()
    repository, name = version.parent.parent, version.parent.name
    with ServerProcess("--repository", str(repository), "--models", name) as server:
        taken = time.perf_counter() - started
        with grpc.insecure_channel(server.target) as channel:
            yield Contender(LINNAEUS, server.target, server.child.pid, taken, channel)


@contextmanager
def tritonserver(triton: Triton, version: Path, tuning: Tuning, takes_pixels: bool) -> Iterator[Contender]:
    """NVIDIA's server with the same artifact in its Python backend."""
    with ExitStack() as opened:
        repository, backends = (Path(opened.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        write_repository(repository, version, tuning, takes_pixels)
        write_backends(backends, triton.backends, triton.stub)
        started = time.perf_counter()
        server = opened.enter_context(TritonProcess(triton, repository, backends, tuning.variables()))
        taken = time.perf_counter() - started
        channel = opened.enter_context(grpc.insecure_channel(server.target))
        yield Contender(TRITON, server.target, server.child.pid, taken, channel)


def agreed(subject: Subject, contenders: list[Contender]) -> tuple[int, ...]:
    """The best class of each picture, on which all agree.

    Raises:
        RuntimeError: they do not, so that they do not do the same work.
    """
    best = list[int]()
    for place, request in enumerate(kserve_requests(subject)):
        tables = [probabilities(each.infer(request)) for each in contenders]
        classes = {int(table.argmax()) for table in tables}
        apart = max(float(numpy.abs(table - tables[0]).max()) for table in tables)
        if len(classes) > 1 or apart > TOLERANCE:
            raise RuntimeError(f"{subject.name}, picture {place}: the best classes are {classes}, {apart:.3f} apart")
        best += classes
    return tuple(best)
