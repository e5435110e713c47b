"""What callers get of two servers by one way: latency, rate, shares, and answers in time while one server is busy."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.common.h2load import LoadResult, UnaryCall, closed_loop
from benchmarks.common.images import digits
from benchmarks.common.report import percentile
from benchmarks.peers.servers import RunningServer
from benchmarks.peers.workloads import grey_pixels
from linnaeus.client import Client, LinnaeusError
from linnaeus.v1 import classifier_pb2 as v1

CALLERS = 16
DEADLINE_SECONDS = 1.0
_CONNECTIONS = 4
_PATH = "/linnaeus.v1.ClassifierService/Classify"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to two servers.

    Attributes:
        name: as it is printed.
        targets: of the balancer, or of both servers.
        servers: the servers.
    """

    name: str
    targets: tuple[str, ...]
    servers: tuple[RunningServer, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """What h2load measured.

    Attributes:
        way: by which way.
        p50, p99: seconds that a single caller waits.
        rate: answers a second to 16 callers.
        larger_share: of the two servers' shares in them.
    """

    way: Way
    p50: float
    p99: float
    rate: float
    larger_share: float


@dataclass(frozen=True, slots=True)
class BusyServer:
    """What callers of the Python client got while one server was busy.

    Attributes:
        way: by which way.
        rate: answers a second.
        answered: share of the calls that were answered within the deadline.
        p99: seconds, of the answers.
    """

    way: Way
    rate: float
    answered: float
    p99: float


def measure_load(way: Way, seconds: float) -> Load:
    """Measures a way by h2load.

    Raises:
        RuntimeError: if a call fails.
    """
    alone = sorted(call.ended - call.started for call in _load(way.targets[:1], 1, 1, seconds)[0].calls)
    before = [each.statistics().images for each in way.servers]
    results = _load(way.targets, CALLERS // len(way.targets), _CONNECTIONS // len(way.targets), seconds)
    counted = [each.statistics().images - images for each, images in zip(way.servers, before, strict=True)]
    rate = sum(len(each.calls) / (each.calls[-1].ended - each.calls[0].started) for each in results)
    p50, p99 = (alone[len(alone) * percent // 100] for percent in (50, 99))
    return Load(way, p50, p99, rate, max(counted) / sum(counted))


def measure_busy_server(way: Way, seconds: float) -> BusyServer:
    """Has callers with a deadline classify again and again, each with a client of its own."""
    over = threading.Event()
    with ThreadPoolExecutor(CALLERS) as pool:
        started = time.perf_counter()
        running = [pool.submit(_call_on, way, over) for _ in range(CALLERS)]
        over.wait(seconds)
        over.set()
        latencies = [latency for each in running for latency in each.result()]
    answered = [each for each in latencies if each is not None]
    elapsed = time.perf_counter() - started
    return BusyServer(way, len(answered) / elapsed, len(answered) / len(latencies), percentile(answered, 0.99) or 0.0)


def _load(targets: Sequence[str], callers: int, connections: int, seconds: float) -> list[LoadResult]:
    """Has h2load call each target with so many callers at the same time."""
    image = v1.Image(pixels=v1.RawPixels(data=grey_pixels(digits()[0]), height=28, width=28, channels=1))
    message = v1.ClassifyRequest(image=image, model="lenet").SerializeToString()

    def load(target: str) -> LoadResult:
        call = UnaryCall(target=target, path=_PATH, message=message)
        return closed_loop(call, callers // connections, seconds, connections)

    with ThreadPoolExecutor(len(targets)) as pool:
        results = list(pool.map(load, targets))
    if failures := sum((each.failures for each in results), start=Counter[str]()):
        raise RuntimeError(f"calls failed: {dict(failures)}")
    return results


def _call_on(way: Way, over: threading.Event) -> list[float | None]:
    """Returns the latency of each call in seconds; None for one that failed."""
    latencies = list[float | None]()
    picture = digits()[0]
    with Client(list(way.targets), timeout_seconds=DEADLINE_SECONDS) as client:
        while not over.is_set():
            started = time.perf_counter()
            try:
                client.classify(picture, model="lenet")
            except LinnaeusError:
                latencies.append(None)
            else:
                latencies.append(time.perf_counter() - started)
    return latencies
