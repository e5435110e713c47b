"""Loads a model version: reads and checks it, selects its precision and its largest batch, and warms it up."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact_checks import FAILURES, Artifact, load_module, read_artifact, refusal
from linnaeus.server.runtime.calibration_images import generated_pictures, recorded_pictures
from linnaeus.server.runtime.device import release_freed_memory
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.precision import AUTO, FLOAT32
from linnaeus.server.runtime.precision_selection import ComparisonPictures, select_precision
from linnaeus.server.runtime.runner import Pixels
from linnaeus.server.runtime.runner_factory import capture_graphs, open_runner
from linnaeus.server.runtime.specialisation import describe_specialisation, fast_precisions

# Larger batches gained no model anything worth the wait; a GPU needs more images to be busy.
LARGEST_BATCH_TRIED = {"cpu": 32, "cuda": 128}


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
        raise refusal(error, "fails at warm-up", device, artifact.manifest.model_file) from error
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
