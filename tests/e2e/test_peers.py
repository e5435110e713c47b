"""What `make bench-peers` sends is what Linnaeus understands, and what tritonserver understands where it is."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from benchmarks.peers.measurement import Scenario, measure
from benchmarks.peers.request_sets import (
    RequestSet,
    Samples,
    WrongAnswer,
    classify_batch_requests,
    classify_requests,
    kserve_requests,
    kserve_stream_requests,
    stream_classify_requests,
)
from benchmarks.peers.servers import LINNAEUS, RunningServer, agreed_classes, linnaeus, tritonserver
from benchmarks.peers.triton_installation import TritonInstallation
from benchmarks.peers.workloads import LENET, load_samples
from linnaeus.server.rpc.child_server import ServerProcess

SECONDS = 0.3
LAST_DIGIT = 5

needs_h2load = pytest.mark.needs(program="h2load")


@pytest.fixture(scope="module")
def samples() -> Samples:
    """The bundled digits, which are named after what they show."""
    return replace(load_samples(LENET, Path()), expected=(0, 1, 2, 4, 7, 9))


@pytest.fixture
def ours(server: ServerProcess, channel: grpc.Channel) -> RunningServer:
    return RunningServer(LINNAEUS, server.target, server.child.pid, 0.0, channel)


METHODS = [
    pytest.param("KServe", marks=needs_h2load),
    pytest.param("KServe, many", marks=needs_h2load),
    "KServe, streamed",
    pytest.param("Classify", marks=needs_h2load),
    pytest.param("ClassifyBatch", marks=needs_h2load),
    "StreamClassify",
]
REQUESTS: dict[str, Callable[[Samples], RequestSet]] = {
    "KServe": kserve_requests,
    "KServe, many": lambda samples: kserve_requests(samples, 7),
    "KServe, streamed": kserve_stream_requests,
    "Classify": classify_requests,
    "ClassifyBatch": lambda samples: classify_batch_requests(samples, 7),
    "StreamClassify": stream_classify_requests,
}


@pytest.mark.parametrize("method", METHODS)
def test_linnaeus_names_every_digit_rightly(method: str, ours: RunningServer, samples: Samples) -> None:
    requests = REQUESTS[method](samples)
    for place in range(len(samples.images)):
        measured = measure(Scenario(ours, method, requests, 4), SECONDS, place)
        assert measured.rate > 0 and measured.p50 <= measured.p99 and measured.batch_size >= 1
        if requests.streaming:  # all digits are in one run
            break


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_name_is_noticed(method: str, ours: RunningServer, samples: Samples) -> None:
    wrong = replace(samples, expected=(0, 1, 2, 4, 7, 8))
    with pytest.raises(WrongAnswer):
        measure(Scenario(ours, method, REQUESTS[method](wrong), 8), SECONDS, LAST_DIGIT)


def test_failed_calls_end_the_measurement(ours: RunningServer, samples: Samples) -> None:
    unknown = replace(kserve_requests(replace(samples, model="unknown")), check=lambda place, answer: None)
    with pytest.raises(grpc.RpcError, match="unknown"):
        measure(Scenario(ours, "KServe", unknown, 4), SECONDS, 0)


@pytest.fixture(scope="module")
def version(repository: Path) -> Path:
    return repository / "lenet" / "1"


@pytest.fixture(scope="module")
def theirs(version: Path) -> Iterator[RunningServer]:
    with tritonserver(TritonInstallation(), version, LENET.tuning, LENET.takes_pixels) as running:
        yield running


@needs_h2load
@pytest.mark.needs(program="tritonserver")
def test_both_name_the_same_digits_and_report_their_batch_sizes(
    theirs: RunningServer, version: Path, samples: Samples
) -> None:
    with linnaeus(version) as ours:
        assert agreed_classes(samples, [theirs, ours]) == samples.expected
        for server in (theirs, ours):
            measured = measure(Scenario(server, "KServe", kserve_requests(samples), 16), SECONDS, 0)
            assert measured.rate > 0 and 1 <= measured.batch_size <= 16 and measured.p50 <= measured.p99
