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
from linnaeus.server.runtime.calibration import generated_pictures, recorded_pictures
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

# Larger batches gained no model anything worth the wait; a GPU needs more images to be busy.
LARGEST_BATCH_TRIED = {"cpu": 32, "cuda": 128}


class Ranking(NamedTuple):
    """The best classes of one image, best first; equal probabilities by lower index.

    If `is_finite` is False, the model returned NaN or infinity and the ranking is meaningless.
    """

    indices: list[int]
    probabilities: list[float]

    @property
    def is_finite(self) -> bool:
        """Whether every probability is finite."""
        return all(map(math.isfinite, self.probabilities))


class Model:
    """A checked model version on one device.

    Every method may be called from any thread; `close` only when nothing runs.

    Args:
        artifact: the checked version folder.
        device: the device it runs on.
        runner: runs its batches there.
        max_batch_size: the largest batch size.
        timings: batch durations measured at warm-up, by ascending size.

    Attributes:
        manifest, labels: from the version folder.
        device, max_batch_size, timings: as above.
        specialisation: how it was fitted to the device; set once, by `load_model`.
        is_short: whether its runs are short enough to use one core; set once, before it serves.
        runs_inline: whether the event loop may itself run a single image; set once, before it serves.
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
            k: classes to return for each image, from 1 to the number of classes.

        Raises:
            OutOfMemory: if the device has too little memory for this batch.
            RuntimeError, torch.jit.Error: if the model failed.
        """
        try:
            indices, probabilities = self._runner.run(images, k)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise OutOfMemory(error_summary(error)) from error
            raise
        return [Ranking(*row) for row in zip(indices, probabilities, strict=True)]

    def works(self) -> bool:
        """Whether the model can run a blank image; if it can, images that failed are themselves at fault."""
        try:
            self.run_blank(1)
        except FAILURES:
            return False
        return True

    def close(self) -> None:
        """Ends the runner's threads and frees its buffers; the weights are freed with the object. Idempotent."""
        self._runner.close()

    def run_blank(self, count: int) -> None:
        """Runs a batch of `count` blank images; raises as `run` does."""
        spec = self.manifest.input
        self.run([numpy.zeros((spec.height, spec.width, spec.channels), numpy.uint8)] * count, 1)

    def probabilities(self, images: Sequence[Pixels]) -> list[list[float]]:
        """Returns each image's probabilities, by class index.

        Args:
            images: one batch; see `run`.
        """
        return [
            [probability for _, probability in sorted(zip(ranking.indices, ranking.probabilities, strict=True))]
            for ranking in self.run(images, self.manifest.classes)
        ]

    def warm_up(self, choose: bool, clock: Callable[[], float] = time.perf_counter) -> tuple[BatchTiming, ...]:
        """Runs blank images at every size class; see `linnaeus.server.runtime.warmup`."""
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
    """Reads, checks, loads, specialises and warms up a version.

    Args:
        folder: `<root>/<model>/<version>`.
        device: the device to run on.
        max_batch_size: the largest batch size; 0 finds the size beyond which throughput stops growing.
        clock: time in seconds, for measuring batches.
        before_warm_up: called once the modules are loaded and checked.
        cuda_graphs: whether to capture CUDA graphs on a GPU, if the model can be captured.
        precision: float32, bfloat16, float16, or auto for the fastest that agrees with float32.

    Raises:
        ModelRefused: if a check fails, the device has too little memory, or the precision is not available.
    """
    artifact = read_artifact(folder)
    modules = _load_modules(artifact, device, precision)
    before_warm_up()  # before a runner starts threads, which inherit this thread's settings
    options = _LoadOptions(artifact, device, max_batch_size, clock, cuda_graphs)
    openers = {name: partial(_Candidate, options, name, module) for name, module in modules.items()}
    pictures = ComparisonPictures(recorded_pictures(artifact), generated_pictures(artifact.manifest.input))
    try:
        selected = select_precision(precision, openers, pictures, clock)
    except FAILURES as error:
        raise refusal(error, "fails at warm-up", device) from error
    model = selected.model.model
    model.specialisation = describe_specialisation(device, selected.precision, selected.reason)
    del selected, openers, modules  # frees the precisions that were not selected
    release_freed_memory()  # returns the memory of the largest batches tried
    return model


def _load_modules(
    artifact: Artifact, device: torch.device, precision: str
) -> dict[str, torch.jit.ScriptModule | ModelRefused]:
    """Loads the version in float32, which detects a corrupt one, and in the requested precisions or candidates."""
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
    """The arguments of `load_model` that apply to every precision."""

    artifact: Artifact
    device: torch.device
    max_batch_size: int
    clock: Callable[[], float]
    cuda_graphs: bool


class _Candidate:
    """Implements `PrecisionCandidate`: a model in one precision, which may be discarded for another."""

    def __init__(self, options: _LoadOptions, precision: str, module: torch.jit.ScriptModule | ModelRefused) -> None:
        if isinstance(module, ModelRefused):
            raise module
        self._options = options
        largest = options.max_batch_size or LARGEST_BATCH_TRIED[options.device.type]
        self._runner = open_runner(module, options.artifact.manifest, options.device, largest, precision)
        self.model = Model(options.artifact, options.device, self._runner, largest)

    @property
    def max_batch_size(self) -> int:
        """The largest batch size; see `PrecisionCandidate`."""
        return self.model.max_batch_size

    def probabilities(self, images: Sequence[Pixels]) -> list[list[float]]:
        """Runs the pictures one by one, since a large first batch may not fit into memory; see `PrecisionCandidate`."""
        return [answer for image in images for answer in self.model.probabilities([image])]

    def run_largest(self) -> None:
        """Runs a batch of blank images; see `PrecisionCandidate`."""
        self.model.run_blank(self.model.max_batch_size)

    def warm(self) -> None:
        """Finds the largest batch to form, and captures graphs if requested; see `PrecisionCandidate`."""
        options, model = self._options, self.model
        timings = model.warm_up(options.max_batch_size == 0, options.clock)
        self._runner.keep_sizes([timing.size for timing in timings])
        if options.cuda_graphs and capture_graphs(self._runner):
            timings = Model(options.artifact, options.device, self._runner, timings[-1].size).warm_up(
                False, options.clock
            )
        self.model = Model(options.artifact, options.device, self._runner, timings[-1].size, timings)

    def close(self) -> None:
        """Closes the runner; see `PrecisionCandidate`."""
        self._runner.close()
