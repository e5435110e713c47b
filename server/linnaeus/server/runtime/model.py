"""A model version on a device, ready to run batches."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from linnaeus.models.manifest import MODEL_FILE, Manifest
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact import FAILURES, Artifact, last_line, load_module, read_artifact
from linnaeus.server.runtime.device import release_freed_memory, without_profiling
from linnaeus.server.runtime.topk import top_k
from linnaeus.server.runtime.warmup import BatchTiming, warm_up

# Beyond these no model gained anything worth the wait; a GPU needs more images to be busy.
LARGEST_BATCH_TRIED = {"cpu": 32, "cuda": 128}

Pixels = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.uint8]]


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


class OutOfMemory(RuntimeError):
    """The device has too little memory left for this run; a smaller one may do."""


class Model:
    """A checked model version on one device.

    Any thread may call anything; each run has a staging buffer to itself.

    Attributes:
        manifest, labels: what the version folder says.
        device: where it runs.
        max_batch_size: the largest batch that `run` takes.
        timings: how long batches took at warm-up, by growing size.
    """

    def __init__(
        self,
        artifact: Artifact,
        device: torch.device,
        module: torch.jit.ScriptModule,
        max_batch_size: int,
        timings: tuple[BatchTiming, ...] = (),
    ) -> None:
        self.manifest: Manifest = artifact.manifest
        self.labels = artifact.labels
        self.device = device
        self.max_batch_size = max_batch_size
        self.timings = timings
        self._module = module
        self._staging: list[Tensor] = []  # buffers that no run uses now

    def run(self, images: Sequence[Pixels], k: int) -> list[Ranking]:
        """Classifies a batch.

        Args:
            images: 1 to `max_batch_size` arrays, uint8 [H, W, C] of the manifest's input size.
            k: classes to return for each image, from 1 to the class count.

        Raises:
            OutOfMemory: see there.
            RuntimeError, torch.jit.Error: the model failed.
        """
        staging = self._staging_buffer()
        try:
            rows = staging.numpy()
            for place, image in enumerate(images):
                rows[place] = image
            return self._run_staged(staging[: len(images)], k)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(last_line(error)) from error
        finally:
            self._staging.append(staging)

    def _run_staged(self, staged: Tensor, k: int) -> list[Ranking]:
        with torch.inference_mode(), without_profiling():
            # Staged as height, width, channels: to torch this is [N, C, H, W] in channels-last order.
            pixels = staged.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            values, indices = top_k(self._module(pixels), k)
            rows = zip(indices.tolist(), values.tolist(), strict=True)
        return [Ranking(row_indices, row_values) for row_indices, row_values in rows]

    def works(self) -> bool:
        """Whether a blank picture goes through: if it does, those that did not are at fault themselves."""
        try:
            self._run_blank(1)
        except FAILURES:
            return False
        return True

    def _run_blank(self, count: int) -> None:
        spec = self.manifest.input
        self.run([numpy.zeros((spec.height, spec.width, spec.channels), numpy.uint8)] * count, 1)

    def _staging_buffer(self) -> Tensor:
        """A buffer that is free, or a new one."""
        try:
            return self._staging.pop()
        except IndexError:
            spec = self.manifest.input
            shape = (self.max_batch_size, spec.height, spec.width, spec.channels)
            return torch.zeros(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")

    def warm_up(self, choose: bool, clock: Callable[[], float] = time.perf_counter) -> tuple[BatchTiming, ...]:
        """Runs blank images at every batch size class; see `linnaeus.server.runtime.warmup`."""
        return warm_up(self._run_blank, self.max_batch_size, choose, clock)


def load_model(
    folder: Path,
    device: torch.device,
    max_batch_size: int,
    clock: Callable[[], float] = time.perf_counter,
    before_warm_up: Callable[[], None] = lambda: None,
) -> Model:
    """Reads, checks, places, specialises and warms up a version.

    Args:
        folder: `<root>/<model>/<version>`.
        device: where it runs.
        max_batch_size: the largest batch; 0 finds the one beyond which throughput stops growing.
        clock: seconds, by which batches are timed.
        before_warm_up: called once the model can run.

    Raises:
        ModelRefused: a check fails.
    """
    artifact = read_artifact(folder)
    module = load_module(artifact, device)
    trial = Model(artifact, device, module, max_batch_size or LARGEST_BATCH_TRIED[device.type])
    before_warm_up()
    try:
        timings = trial.warm_up(max_batch_size == 0, clock)
    except FAILURES as error:
        raise ModelRefused(f"{MODEL_FILE} fails at warm-up: {last_line(error)}") from error
    del trial
    release_freed_memory()  # what the largest tries took
    return Model(artifact, device, module, timings[-1].size, timings)
