"""What the parts of the overload benchmark share: images, servers, and processes for callers."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.common.h2load import UnaryCall
from benchmarks.common.load_tester import measure_closed_loop
from linnaeus.client.load.generator.unary_calls import SERVICE
from linnaeus.server.config.settings import Settings
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1

REPOSITORY = Path("model-repository")
# Written anew by each run; it must not be among the models that `make serve` serves.
EXTRA_REPOSITORY = Path("runs/bench-overload")
LARGE_MODEL, SMALL_MODEL = "efficientnet_lite0", "lenet"
# Between the start of a process of callers and its first call.
START_SECONDS = 1.0
WARMUP_CALLERS, WARMUP_SECONDS = 64, 2.0


@dataclass(frozen=True, slots=True)
class Environment:
    """What a part runs with.

    Attributes:
        photographs: JPEGs of 500x375.
        digits: the bundled PNGs.
        folder: for files of the run; removed at its end.
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
def start_server(models: str, repository: Path = REPOSITORY, event_log: Path | None = None) -> Iterator[ServerProcess]:
    """Runs a server.

    Args:
        models: their names, separated by commas.
        repository: where they are.
        event_log: the file for the server's event log, if it can write one; None for no event log.
    """
    arguments = ["--repository", str(repository), "--models", models]
    if event_log is not None and has_event_log():
        arguments += ["--trace", str(event_log)]
    with ServerProcess(*arguments) as server:
        yield server


def has_event_log() -> bool:
    """Returns whether the server has the setting `trace`; earlier versions, for comparison, have not."""
    return "trace" in {each.name for each in fields(Settings)}


def warm_up(server: ServerProcess, model: str, images: tuple[Path, ...]) -> None:
    """Sends load that is not measured: the first calls of a server are slower than later ones."""
    measure_closed_loop(server, model, images, WARMUP_CALLERS, WARMUP_SECONDS)


@contextmanager
def process_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Runs processes that have already started and imported their modules."""
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        for started in [pool.submit(int) for _ in range(count)]:
            started.result()
        yield pool


def classify_call(
    target: str, model: str, images: tuple[Path, ...], number: int, deadline_seconds: float | None = None
) -> UnaryCall:
    """Returns h2load's call of `Classify` for one of the images, another one for each number."""
    image = v1.Image(encoded=images[number % len(images)].read_bytes())
    message = v1.ClassifyRequest(image=image, model=model, top_k=1).SerializeToString()
    return UnaryCall(target=target, path=SERVICE + "Classify", message=message, deadline_seconds=deadline_seconds)


def read_files(paths: tuple[Path, ...]) -> tuple[bytes, ...]:
    """Returns the contents of files."""
    return tuple(path.read_bytes() for path in paths)
