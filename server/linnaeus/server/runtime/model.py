"""A model version on a device, ready to run batches."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy
import torch

from linnaeus.models.manifest import Manifest
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact import FAILURES, Artifact, load_module, read_artifact, refusal
from linnaeus.server.runtime.calibration import drawn_pictures, recorded_pictures
from linnaeus.server.runtime.device import release_freed_memory
from linnaeus.server.runtime.out_of_memory import OutOfMemory as OutOfMemory
from linnaeus.server.runtime.out_of_memory import error_summary, is_out_of_memory
from linnaeus.server.runtime.precision import AUTO, FLOAT32
from linnaeus.server.runtime.precision_selection import ComparisonPictures, select_precision
from linnaeus.server.runtime.runner import Pixels as Pixels
from linnaeus.server.runtime.runner import Runner
from linnaeus.server.runtime.runner_factory import capture_graphs, open_runner
from linnaeus.server.runtime.specialisation import describe_specialisation, fast_precisions
from linnaeus.server.runtime.warmup import BatchTiming, warm_up

# Beyond these no model gained anything worth the wait; a GPU needs more images to be busy.
LARGEST_BATCH_TRIED = {"cpu": 32, "cuda": 128}


class Ranking(NamedTuple):
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
        specialisation: how it was fitted to its device; set once, by `load_model`.
        is_short: whether its runs are so short that one core is enough for them; set once, before it serves.
        runs_inline: whether, besides, the event loop may run a single image itself; set once, before it serves.
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
        self.specialisation = describe_specialisation(device, FLOAT32, "")
        self.is_short = False
        self.runs_inline = False
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
                raise OutOfMemory(error_summary(error)) from error
            raise
        return [Ranking(*row) for row in zip(indices, probabilities, strict=True)]

    def works(self) -> bool:
        """Whether a blank picture goes through: if it does, those that did not are at fault themselves."""
        try:
            self.run_blank(1)
        except FAILURES:
            return False
        return True

    def close(self) -> None:
        """Ends its threads, and frees what its batches needed; its weights go with the object. May be called twice."""
        self._runner.close()

    def run_blank(self, count: int) -> None:
        """Runs a batch of so many blank images; raises as `run` does."""
        spec = self.manifest.input
        self.run([numpy.zeros((spec.height, spec.width, spec.channels), numpy.uint8)] * count, 1)

    def probabilities(self, images: Sequence[Pixels]) -> list[list[float]]:
        """Returns each picture's probabilities by class index.

        Args:
            images: one batch; see `run`.
        """
        return [
            [probability for _, probability in sorted(zip(ranking.indices, ranking.probabilities, strict=True))]
            for ranking in self.run(images, self.manifest.classes)
        ]

    def warm_up(self, choose: bool, clock: Callable[[], float] = time.perf_counter) -> tuple[BatchTiming, ...]:
        """Runs blank images at every batch size class; see `linnaeus.server.runtime.warmup`."""
        return warm_up(self.run_blank, self.max_batch_size, choose, clock)


def load_model(
    folder: Path,
    device: torch.device,
    max_batch_size: int,
    clock: Callable[[], float] = time.perf_counter,
    before_warm_up: Callable[[], None] = lambda: None,
    cuda_graphs: bool = False,
    precision: str = FLOAT32,
) -> Model:
    """Reads, checks, places, specialises and warms up a version.

    Args:
        folder: `<root>/<model>/<version>`.
        device: where it runs.
        max_batch_size: the largest batch; 0 finds the one beyond which throughput stops growing.
        clock: seconds, by which batches are timed.
        before_warm_up: called once the model can run.
        cuda_graphs: whether a GPU is to run it by recorded graphs, if it can be recorded.
        precision: float32, bfloat16, float16, or auto for the fastest that agrees with float32.

    Raises:
        ModelRefused: a check fails, the device has too little memory, or the precision cannot be had.
    """
    artifact = read_artifact(folder)
    modules = _load_modules(artifact, device, precision)
    before_warm_up()  # before a runner starts threads: they are as whoever starts them
    options = _LoadOptions(artifact, device, max_batch_size, clock, cuda_graphs)
    opens = {name: partial(_Candidate, options, name, module) for name, module in modules.items()}
    pictures = ComparisonPictures(recorded_pictures(artifact), drawn_pictures(artifact.manifest.input))
    try:
        selected = select_precision(precision, opens, pictures, clock)
    except FAILURES as error:
        raise refusal(error, "fails at warm-up", device) from error
    model = selected.model.model
    model.specialisation = describe_specialisation(device, selected.precision, selected.reason)
    del selected, opens, modules  # the precisions that were not taken
    release_freed_memory()  # what the largest tries took
    return model


def _load_modules(
    artifact: Artifact, device: torch.device, precision: str
) -> dict[str, torch.jit.ScriptModule | ModelRefused]:
    """The version in float32, by which a corrupt one is found, and in what is wanted or may be chosen besides."""
    modules: dict[str, torch.jit.ScriptModule | ModelRefused] = {FLOAT32: load_module(artifact, device)}
    for name in fast_precisions(device) if precision == AUTO else {precision} - {FLOAT32}:
        try:
            modules[name] = load_module(artifact, device, name)
        except ModelRefused as error:
            if precision != AUTO:
                raise
            modules[name] = error
    return modules


@dataclass(frozen=True, slots=True)
class _LoadOptions:
    """What holds for a version in any precision; see `load_model`."""

    artifact: Artifact
    device: torch.device
    max_batch_size: int
    clock: Callable[[], float]
    cuda_graphs: bool


class _Candidate:
    """Implements `PrecisionCandidate`: a model that may yet be given up for another precision."""

    def __init__(self, options: _LoadOptions, precision: str, module: torch.jit.ScriptModule | ModelRefused) -> None:
        if isinstance(module, ModelRefused):
            raise module
        self._options = options
        largest = options.max_batch_size or LARGEST_BATCH_TRIED[options.device.type]
        self._runner = open_runner(module, options.artifact.manifest, options.device, largest, precision)
        self.model = Model(options.artifact, options.device, self._runner, largest)

    @property
    def max_batch_size(self) -> int:
        """The largest batch; see `PrecisionCandidate`."""
        return self.model.max_batch_size

    def probabilities(self, images: Sequence[Pixels]) -> list[list[float]]:
        """Runs the pictures one by one, as a large first batch may not fit into memory; see `PrecisionCandidate`."""
        return [answer for image in images for answer in self.model.probabilities([image])]

    def run_largest(self) -> None:
        """Runs blank images; see `PrecisionCandidate`."""
        self.model.run_blank(self.model.max_batch_size)

    def warm(self) -> None:
        """Finds the batch to form, and records graphs if they are wanted; see `PrecisionCandidate`."""
        options, model = self._options, self.model
        timings = model.warm_up(options.max_batch_size == 0, options.clock)
        self._runner.keep([timing.size for timing in timings])
        if options.cuda_graphs and capture_graphs(self._runner):
            timings = Model(options.artifact, options.device, self._runner, timings[-1].size).warm_up(
                False, options.clock
            )
        self.model = Model(options.artifact, options.device, self._runner, timings[-1].size, timings)

    def close(self) -> None:
        """Ends the runner; see `PrecisionCandidate`."""
        self._runner.close()
