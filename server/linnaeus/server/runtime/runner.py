"""What runs batches of one model on one device; there is one way for each kind of device."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy

Pixels = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.uint8]]
# For each image its best classes and their probabilities, best first.
TopK: TypeAlias = tuple[list[list[int]], list[list[float]]]


class Runner(Protocol):
    """Runs batches. Any thread may call anything, several at once."""

    def run(self, images: Sequence[Pixels], k: int) -> TopK:
        """Runs one batch to its end.

        Args:
            images: uint8 [H, W, C] each, at least one and at most as many as the largest size.
            k: classes to return for each image.

        Raises:
            RuntimeError, torch.jit.Error: the run failed.
        """

    def keep(self, sizes: Sequence[int]) -> None:
        """Only batches up to the last of these sizes will come from now on; called before the first of them."""

    def close(self) -> None:
        """Ends its threads and frees what batches needed; nothing runs, and nothing will. May be called twice."""
