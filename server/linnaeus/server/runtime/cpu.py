"""Batches on the processor: the calling thread stages a batch, runs it and reads the answers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from linnaeus.models.manifest import InputSpec
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.runner import Pixels, Ranked
from linnaeus.server.runtime.topk import top_k


class CpuRunner:
    """Implements `Runner`; each run has a staging buffer to itself.

    Args:
        module: the model, on the processor.
        spec: what it takes.
        largest: the largest batch.
    """

    def __init__(self, module: torch.jit.ScriptModule, spec: InputSpec, largest: int) -> None:
        self._module = module
        self._image_shape = (spec.height, spec.width, spec.channels)
        self._largest = largest
        self._staging: list[Tensor] = []  # buffers that no run uses now

    def run(self, images: Sequence[Pixels], k: int) -> Ranked:
        """Runs one batch to its end; see `Runner`."""
        staging = self._staging_buffer()
        try:
            rows = staging.numpy()
            for place, image in enumerate(images):
                rows[place] = image
            return self._run_staged(staging[: len(images)], k)
        finally:
            self._staging.append(staging)

    def keep(self, sizes: Sequence[int]) -> None:
        """Gives the buffers for larger batches back; see `Runner`."""
        self._largest = sizes[-1]
        self._staging.clear()

    def close(self) -> None:
        """Gives the buffers back; see `Runner`."""
        self._staging.clear()

    def _run_staged(self, staged: Tensor, k: int) -> Ranked:
        with torch.inference_mode(), without_profiling():
            # Staged as height, width, channels: to torch this is [N, C, H, W] in channels-last order.
            values, indices = top_k(self._module(staged.permute(0, 3, 1, 2)), k)
            return indices.tolist(), values.tolist()

    def _staging_buffer(self) -> Tensor:
        """A buffer that is free, or a new one."""
        try:
            return self._staging.pop()
        except IndexError:
            return torch.zeros((self._largest, *self._image_shape), dtype=torch.uint8)
