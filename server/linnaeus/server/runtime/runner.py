"""The interface that runs batches of one model on one device; each kind of device implements it."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy

Pixels = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.uint8]]
# For each image the indices of its best classes and their probabilities, best first.
TopK: TypeAlias = tuple[list[list[int]], list[list[float]]]


class Runner(Protocol):
    """Runs batches. Every method may be called from any thread, concurrently."""

    def run(self, images: Sequence[Pixels], k: int) -> TopK:
        """Runs one batch.

        Args:
            images: uint8 [H, W, C] each; at least one, and at most the largest size.
            k: classes to return for each image.

        Raises:
            RuntimeError, torch.jit.Error: if the run failed.
        """

    def keep_sizes(self, sizes: Sequence[int]) -> None:
        """Restricts later batches to at most the last of these sizes; called before the runner serves."""

    def close(self) -> None:
        """Ends the threads and frees the buffers; nothing may run then or later. Idempotent."""
