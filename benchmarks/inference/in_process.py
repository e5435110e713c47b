"""The baseline of serving: the same artifact, decoder and threads in one process without gRPC."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from benchmarks.common.child_process import ChildProcess
from linnaeus.models.manifest import MODEL_FILE
from linnaeus.server.decoding.decode import decode
from linnaeus.server.process.thread_priority import use_idle_scheduling
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.runtime.artifact_checks import read_artifact
from linnaeus.server.runtime.cpu import CpuRunner
from linnaeus.server.runtime.device import CoreShare, configure_process
from linnaeus.server.runtime.model import Model, Pixels
from linnaeus.server.runtime.model_loading import load_model

CPU = torch.device("cpu")
LARGEST_BATCH = 32


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the artifact in-process.

    Attributes:
        name: as it is printed.
        specialised: whether the model is loaded as the server loads it (by the fastest runtime), or as torch does.
        in_background: whether the decoder threads have a lower priority than the model's, as in the server.
        streams: batches that run at the same time, each on its share of the cores.
    """

    name: str
    specialised: bool
    in_background: bool
    streams: int


# The first needs nothing but torch; the others use what the server adds to it.
VARIANTS = (
    Variant("as torch runs it", specialised=False, in_background=False, streams=1),
    Variant("as served", specialised=True, in_background=True, streams=1),
    Variant("as served, two streams", specialised=True, in_background=True, streams=2),
)


class InProcess:
    """A child process that decodes images in a pool, runs them in batches and measures its throughput.

    The pool decodes the next batch while the model runs the last one, as the server's does.

    Args:
        folder: the model's version folder.
        images: encoded; decoded in turn.
        variant: how the model is run.
    """

    def __init__(self, folder: Path, images: list[bytes], variant: Variant) -> None:
        self._child = ChildProcess(_serve, folder, images, variant)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._child.connection.send(None)
        self._child.join()

    def images_per_second(self, batch: int, seconds: float, ahead: bool = True) -> float:
        """Measures one batch size.

        Args:
            batch: images in each batch.
            seconds: about how long to measure.
            ahead: whether the next batch is decoded while the last one runs.
        """
        self._child.connection.send((batch, seconds, ahead))
        return float(self._child.connection.recv())


def _serve(connection: Connection, folder: Path, images: list[bytes], variant: Variant) -> None:
    configure_process(0)
    model = load_model(folder, CPU, LARGEST_BATCH) if variant.specialised else _as_torch_loads_it(folder)
    begin = use_idle_scheduling if variant.in_background else None
    with (
        ThreadPoolExecutor(len(os.sched_getaffinity(0)), initializer=begin) as decoders,
        ThreadPoolExecutor(
            variant.streams, initializer=CoreShare(CPU, 0).take, initargs=(variant.streams - 1,)
        ) as runs,
    ):
        connection.send("ready")
        while (order := connection.recv()) is not None:
            measure = partial(_measure, model, decoders, images, *order)
            rates = [runs.submit(measure) for _ in range(variant.streams)]
            connection.send(sum(rate.result() for rate in rates))


def _as_torch_loads_it(folder: Path) -> Model:
    module: torch.jit.ScriptModule = torch.jit.load(str(folder / MODEL_FILE))  # type: ignore[no-untyped-call]
    module.eval().to(memory_format=torch.channels_last)
    artifact = read_artifact(folder)
    runner = CpuRunner(torch.jit.freeze(module), artifact.manifest.input, LARGEST_BATCH)
    model = Model(artifact, CPU, runner, LARGEST_BATCH)
    model.warm_up(choose=False)
    return model


def _measure(
    model: Model, decoders: ThreadPoolExecutor, images: list[bytes], batch: int, seconds: float, ahead: bool
) -> float:
    done = 0
    started = time.perf_counter()
    for pixels in _batches(model, decoders, images, batch, ahead):
        model.run(pixels, 5)
        done += batch
        if (elapsed := time.perf_counter() - started) > seconds:
            break
    return done / elapsed


def _batches(
    model: Model, decoders: ThreadPoolExecutor, images: list[bytes], batch: int, ahead: bool
) -> Iterator[list[Pixels]]:
    """Yields decoded batches without end; decoding stops when the iterator is closed."""
    spec, source = model.manifest.input, cycle(images)

    def begin() -> "list[Future[Pixels]]":
        return [decoders.submit(decode, EncodedImage(next(source)), spec, 10**8) for _ in range(batch)]

    following = begin() if ahead else []
    try:
        while True:
            ready = following or begin()
            following = begin() if ahead else []
            yield [future.result() for future in ready]
    finally:
        for future in following:
            future.cancel()
