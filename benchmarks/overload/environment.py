"""What all parts of the overload benchmark stand on: pictures, servers and processes."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.common.h2load import UnaryCall
from benchmarks.common.load_tester import under_load
from linnaeus.client.load.calls import SERVICE
from linnaeus.server.config.settings import Settings
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1

REPOSITORY = Path("model-repository")
# Made anew each time; it must not turn up among the models that `make serve` serves.
EXTRA_REPOSITORY = Path("runs/bench-overload")
HEAVY, LIGHT = "efficientnet_lite0", "lenet"
START_SECONDS = 1.0
WARMING_CALLERS, WARMING_SECONDS = 64, 2.0


@dataclass(frozen=True, slots=True)
class Ground:
    """What a part is given.

    Attributes:
        photographs: JPEGs of 500x375.
        digits: the bundled PNGs.
        folder: for files of the run, removed at its end.
        rounds: of the measurements that are taken in turns.
        chaos_seconds: how long the chaos lasts.
        model, repository: what the capacity and the rates are measured with.
    """

    photographs: tuple[Path, ...]
    digits: tuple[Path, ...]
    folder: Path
    rounds: int
    chaos_seconds: float
    model: str
    repository: Path


@contextmanager
def server_of(models: str, repository: Path = REPOSITORY, trace: Path | None = None) -> Iterator[ServerProcess]:
    """A server of these models, separated by commas; it writes a trace where it can and shall."""
    arguments = ["--repository", str(repository), "--models", models]
    if trace is not None and writes_traces():
        arguments += ["--trace", str(trace)]
    with ServerProcess(*arguments) as server:
        yield server


def warm(server: ServerProcess, model: str, pictures: tuple[Path, ...]) -> None:
    """A spell that nobody counts: the first calls of a server are slower than all that follow."""
    under_load(server, model, pictures, WARMING_CALLERS, WARMING_SECONDS)


def writes_traces() -> bool:
    """Whether this server has the setting."""
    return "trace" in {each.name for each in fields(Settings)}


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes that are running and have read their modules."""
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        for started in [pool.submit(int) for _ in range(count)]:
            started.result()
        yield pool


def classify_call(
    target: str, model: str, pictures: tuple[Path, ...], number: int, deadline_seconds: float | None = None
) -> UnaryCall:
    """`Classify` for one of the pictures, another one for each number, as h2load calls it."""
    image = v1.Image(encoded=pictures[number % len(pictures)].read_bytes())
    message = v1.ClassifyRequest(image=image, model=model, top_k=1).SerializeToString()
    return UnaryCall(target=target, path=SERVICE + "Classify", message=message, deadline_seconds=deadline_seconds)


def contents(paths: tuple[Path, ...]) -> tuple[bytes, ...]:
    """The files' bytes."""
    return tuple(path.read_bytes() for path in paths)
