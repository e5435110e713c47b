"""The interface that runs batches of one model on one device; each kind of device implements it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy

Pixels = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.uint8]]
Features = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float32]]


@dataclass(frozen=True, slots=True)
class BatchOutput:
    """The answers of one batch, in the order of its images.

    Attributes:
        indices: for each image the indices of its best classes, best first.
        probabilities: their probabilities.
        features: float32 [N, d], the model's second output; None if it was not asked for or the model has none.
    """

    indices: list[list[int]]
    probabilities: list[list[float]]
    features: Features | None = None


class Runner(Protocol):
    """Runs batches. Every method may be called from any thread, concurrently."""

    def run(self, images: Sequence[Pixels], k: int, want_features: bool = False) -> BatchOutput:
        """Runs one batch.

        Args:
            images: uint8 [H, W, C] each; at least one, and at most the largest size.
            k: classes to return for each image.
            want_features: whether to return the features, too, if the model has any.

        Raises:
            RuntimeError, torch.jit.Error: if the run failed.
        """

    def keep_sizes(self, sizes: Sequence[int]) -> None:
        """Restricts later batches to at most the last of these sizes; called before the runner serves."""

    def keep_cores(self, alone: int, beside: int) -> None:
        """Prepares for batches that use so many cores, where torch does not decide that; before the runner serves.

        Args:
            alone: of a batch that runs alone.
            beside: of each of two batches at once.
        """

    def settle(self) -> None:
        """Frees what only loading needs; called last before the runner serves."""

    def close(self) -> None:
        """Ends the threads and frees the buffers; nothing may run then or later. Idempotent."""
