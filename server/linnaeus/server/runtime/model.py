"""A model version on a device, ready to run batches."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from linnaeus.models.manifest import Manifest
from linnaeus.server.runtime.artifact import FAILURES, Artifact, load_module, read_artifact, refusal
from linnaeus.server.runtime.device import release_freed_memory
from linnaeus.server.runtime.memory import OutOfMemory as OutOfMemory
from linnaeus.server.runtime.memory import is_out_of_memory, told
from linnaeus.server.runtime.runner import Pixels as Pixels
from linnaeus.server.runtime.runner import Runner
from linnaeus.server.runtime.runners import open_runner, record_graphs
from linnaeus.server.runtime.warmup import BatchTiming, warm_up

# Beyond these no model gained anything worth the wait; a GPU needs more images to be busy.
LARGEST_BATCH_TRIED = {"cpu": 32, "cuda": 128}


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best classes of one image, best first, equal probabilities by lower index.

    `is_finite` is False where the model gave no numbers: the ranking then means nothing.
    """

    indices: list[int]
    probabilities: list[float]

    @property
    def is_finite(self) -> bool:
        """Whether every probability is a number."""
        return all(map(math.isfinite, self.probabilities))


class Model:
    """A checked model version on one device.

    Any thread may call anything; `close` once nothing of it runs.

    Args:
        artifact: the version folder, read.
        device: where it runs.
        runner: what runs it there.
        max_batch_size: the largest batch.
        timings: how long batches took at warm-up, by growing size.

    Attributes:
        manifest, labels: what the version folder says.
        device, max_batch_size, timings: as above.
    """

    def __init__(
        self,
        artifact: Artifact,
        device: torch.device,
        runner: Runner,
        max_batch_size: int,
        timings: tuple[BatchTiming, ...] = (),
    ) -> None:
        self.manifest: Manifest = artifact.manifest
        self.labels = artifact.labels
        self.device = device
        self.max_batch_size = max_batch_size
        self.timings = timings
        self._runner = runner

    def run(self, images: Sequence[Pixels], k: int) -> list[Ranking]:
        """Classifies a batch.

        Args:
            images: 1 to `max_batch_size` arrays, uint8 [H, W, C] of the manifest's input size.
            k: classes to return for each image, from 1 to the class count.

        Raises:
            OutOfMemory: see there.
            RuntimeError, torch.jit.Error: the model failed.
        """
        try:
            indices, probabilities = self._runner.run(images, k)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise OutOfMemory(told(error)) from error
            raise
        return [Ranking(*row) for row in zip(indices, probabilities, strict=True)]

    def works(self) -> bool:
        """Whether a blank picture goes through: if it does, those that did not are at fault themselves."""
        try:
            self._run_blank(1)
        except FAILURES:
            return False
        return True

    def close(self) -> None:
        """Ends its threads, and frees what its batches needed; its weights go with the object. May be called twice."""
        self._runner.close()

    def _run_blank(self, count: int) -> None:
        spec = self.manifest.input
        self.run([numpy.zeros((spec.height, spec.width, spec.channels), numpy.uint8)] * count, 1)

    def warm_up(self, choose: bool, clock: Callable[[], float] = time.perf_counter) -> tuple[BatchTiming, ...]:
        """Runs blank images at every batch size class; see `linnaeus.server.runtime.warmup`."""
        return warm_up(self._run_blank, self.max_batch_size, choose, clock)


def load_model(
    folder: Path,
    device: torch.device,
    max_batch_size: int,
    clock: Callable[[], float] = time.perf_counter,
    before_warm_up: Callable[[], None] = lambda: None,
    cuda_graphs: bool = False,
) -> Model:
    """Reads, checks, places, specialises and warms up a version.

    Args:
        folder: `<root>/<model>/<version>`.
        device: where it runs.
        max_batch_size: the largest batch; 0 finds the one beyond which throughput stops growing.
        clock: seconds, by which batches are timed.
        before_warm_up: called once the model can run.
        cuda_graphs: whether a GPU is to run it by recorded graphs, if it can be recorded.

    Raises:
        ModelRefused: a check fails, or the device has too little memory.
    """
    artifact = read_artifact(folder)
    module = load_module(artifact, device)
    before_warm_up()  # before a runner starts threads: they are as whoever starts them
    largest = max_batch_size or LARGEST_BATCH_TRIED[device.type]
    try:
        with ExitStack() as if_it_fails:
            runner = open_runner(module, artifact.manifest, device, largest)
            if_it_fails.callback(runner.close)
            timings = Model(artifact, device, runner, largest).warm_up(max_batch_size == 0, clock)
            runner.keep([timing.size for timing in timings])
            if cuda_graphs and record_graphs(runner):
                timings = Model(artifact, device, runner, timings[-1].size).warm_up(False, clock)
            if_it_fails.pop_all()
    except FAILURES as error:
        raise refusal(error, "fails at warm-up", device) from error
    release_freed_memory()  # what the largest tries took
    return Model(artifact, device, runner, timings[-1].size, timings)
