"""The two servers, each with one model: started, described in the same way, and stopped."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy

from benchmarks.common.process_usage import processor_seconds
from benchmarks.peers.request_sets import Samples, kserve_requests, probabilities
from benchmarks.peers.triton_installation import TritonInstallation
from benchmarks.peers.triton_repository import Tuning, write_backends, write_repository
from benchmarks.peers.triton_server import TritonServer
from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.rpc.child_server import ServerProcess

LINNAEUS, TRITON = "Linnaeus", "tritonserver"
# The largest difference of a probability: the servers decode, resize and crop in different order.
TOLERANCE = 0.02
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of a server's model: images answered, batches run, images that failed, and how long the batches took."""

    images: int
    batches: int
    failures: int
    batch_seconds: float

    def __sub__(self, earlier: "Statistics") -> "Statistics":
        return Statistics(
            self.images - earlier.images,
            self.batches - earlier.batches,
            self.failures - earlier.failures,
            self.batch_seconds - earlier.batch_seconds,
        )


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A running server.

    Attributes:
        name: as it is printed.
        target: the address of its gRPC port.
        process: its id; the server's other processes are descendants.
        start_seconds: from its start until it served.
        channel: for single calls, not for load.
        http_target: the address of its HTTP port; empty if it has none.
    """

    name: str
    target: str
    process: int
    start_seconds: float
    channel: grpc.Channel
    http_target: str = ""

    def call(self, path: str, message: bytes) -> bytes:
        """Makes one unary call with a serialized request and returns the serialized response.

        Raises:
            grpc.RpcError: if the call fails.
        """
        method: Any = self.channel.unary_unary(path)  # its types know no serialized messages
        response: bytes = method(message, timeout=_TIMEOUT_SECONDS)
        return response

    def statistics(self) -> Statistics:
        """Returns the counters since the server's start."""
        request = kserve.ModelStatisticsRequest().SerializeToString()
        response = self.call("/inference.GRPCInferenceService/ModelStatistics", request)
        models = kserve.ModelStatisticsResponse.FromString(response).model_stats
        return Statistics(
            sum(each.inference_count for each in models),
            sum(each.execution_count for each in models),
            sum(each.inference_stats.fail.count for each in models),
            sum(size.compute_infer.ns for each in models for size in each.batch_stats) / 1e9,
        )

    def idle_cores(self, seconds: float = 1.5) -> float:
        """Returns the number of cores that the server keeps busy without any load."""
        before = processor_seconds(self.process)
        time.sleep(seconds)
        return (processor_seconds(self.process) - before) / seconds


@contextmanager
def linnaeus(version: Path, *options: str, name: str = LINNAEUS) -> Iterator[RunningServer]:
    """Runs Linnaeus as `linnaeus-server` starts it, with one model.

    Args:
        version: folder of the model's version.
        options: further options of the server.
        name: as it is printed.
    """
    started = time.perf_counter()
    repository, model = version.parent.parent, version.parent.name
    with ServerProcess("--repository", str(repository), "--models", model, *options) as server:
        start_seconds = time.perf_counter() - started
        with grpc.insecure_channel(server.target) as channel:
            http_target = f"127.0.0.1:{server.http_port}" if server.http_port else ""
            yield RunningServer(name, server.target, server.child.pid, start_seconds, channel, http_target)


@contextmanager
def tritonserver(
    installation: TritonInstallation, version: Path, tuning: Tuning, takes_pixels: bool
) -> Iterator[RunningServer]:
    """Runs NVIDIA's server with the same artifact in its Python backend."""
    with ExitStack() as opened:
        repository, backends = (Path(opened.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        write_repository(repository, version, tuning, takes_pixels)
        write_backends(backends, installation.backends, installation.stub)
        started = time.perf_counter()
        server = opened.enter_context(TritonServer(installation, repository, backends, tuning.variables()))
        start_seconds = time.perf_counter() - started
        channel = opened.enter_context(grpc.insecure_channel(server.target))
        yield RunningServer(TRITON, server.target, server.child.pid, start_seconds, channel)


def agreed_classes(samples: Samples, servers: list[RunningServer]) -> tuple[int, ...]:
    """Returns the top class of each image, on which all servers agree.

    Raises:
        RuntimeError: if they do not agree, and so do not do the same work.
    """
    requests, top = kserve_requests(samples), list[int]()
    for place, message in enumerate(requests.messages):
        responses = (kserve.ModelInferResponse.FromString(each.call(requests.path, message)) for each in servers)
        tables = [probabilities(response) for response in responses]
        classes = {int(table.argmax()) for table in tables}
        apart = max(float(numpy.abs(table - tables[0]).max()) for table in tables)
        if len(classes) > 1 or apart > TOLERANCE:
            raise RuntimeError(f"{samples.model}, image {place}: the top classes are {classes}, {apart:.3f} apart")
        top += classes
    return tuple(top)
