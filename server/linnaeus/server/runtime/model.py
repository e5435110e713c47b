"""A model version on a device, ready to run batches."""

import time
from collections.abc import Callable, Sequence

import numpy
import torch

from linnaeus.models.manifest import Manifest
from linnaeus.server.runtime.artifact_checks import Artifact
from linnaeus.server.runtime.device import release_freed_memory
from linnaeus.server.runtime.device_preferences import describe_specialisation
from linnaeus.server.runtime.out_of_memory import FAILURES, error_summary, is_out_of_memory
from linnaeus.server.runtime.out_of_memory import OutOfMemory as OutOfMemory
from linnaeus.server.runtime.ranking import Ranking as Ranking
from linnaeus.server.runtime.runner import Pixels as Pixels
from linnaeus.server.runtime.runner import Runner
from linnaeus.server.runtime.variants import FLOAT32, TORCHSCRIPT, Variant
from linnaeus.server.runtime.warmup import BatchTiming, warm_up


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
        most_at_once: how many batches gain by running at once, 0 for any number; set once, by `load_model`.
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
        self.specialisation = describe_specialisation(device, Variant(TORCHSCRIPT, FLOAT32), "", "")
        self.is_short = False
        self.most_at_once = 0
        self._runner = runner

    def run(self, images: Sequence[Pixels], k: int, want_features: bool = False) -> list[Ranking]:
        """Classifies a batch.

        Args:
            images: 1 to `max_batch_size` arrays, uint8 [H, W, C] of the manifest's input size.
            k: classes to return for each image, from 1 to the number of classes.
            want_features: whether to return the features, too, if the version has any.

        Raises:
            OutOfMemory: if the device has too little memory for this batch.
            RuntimeError, torch.jit.Error: if the model failed.
        """
        try:
            output = self._runner.run(images, k, want_features)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise OutOfMemory(error_summary(error)) from error
            raise
        rows = zip(output.indices, output.probabilities, strict=True)
        if output.features is None:
            return [Ranking(*row) for row in rows]
        features = output.features.astype("<f4", copy=False)
        return [Ranking(*row, each.tobytes()) for row, each in zip(rows, features, strict=True)]

    def works(self) -> bool:
        """Whether the model can run a blank image; if it can, images that failed are themselves at fault."""
        try:
            self.run_blank(1)
        except FAILURES:
            return False
        return True

    def keep_cores(self, alone: int, beside: int) -> None:
        """Prepares for batches on so many cores, alone and as one of two at once; before it serves."""
        self._runner.keep_cores(alone, beside)

    def settle(self) -> None:
        """Frees what only loading needed, also of variants that were not chosen; called last before it serves."""
        self._runner.settle()
        release_freed_memory()

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
