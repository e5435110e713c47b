"""Batches on the processor: the calling thread stages a batch, runs it and reads the answers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from linnaeus.models.manifest import InputSpec
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.runner import Pixels, TopK
from linnaeus.server.runtime.staging import stage
from linnaeus.server.runtime.topk import scripted_top_k


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
        self._staging: list[_Staging] = []  # buffers that no run uses now

    def run(self, images: Sequence[Pixels], k: int) -> TopK:
        """Runs one batch to its end; see `Runner`."""
        staging = self._take_staging()
        try:
            stage(images, staging.rows)
            return self._run_staged(staging.input_of(len(images)), k)
        finally:
            self._staging.append(staging)

    def keep(self, sizes: Sequence[int]) -> None:
        """Gives the buffers for larger batches back; see `Runner`."""
        self._largest = sizes[-1]
        self._staging.clear()

    def close(self) -> None:
        """Gives the buffers back; see `Runner`."""
        self._staging.clear()

    def _run_staged(self, staged: Tensor, k: int) -> TopK:
        with torch.inference_mode(), without_profiling():
            values, indices = scripted_top_k(self._module(staged), k)
            return indices.tolist(), values.tolist()

    def _take_staging(self) -> "_Staging":
        """A buffer that is free, or a new one."""
        try:
            return self._staging.pop()
        except IndexError:
            return _Staging((self._largest, *self._image_shape))


class _Staging:
    """A buffer for one batch, and how torch sees its first so many rows, which is made once.

    Attributes:
        rows: uint8 [largest, H, W, C].
    """

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self._staged = torch.zeros(shape, dtype=torch.uint8)
        self._inputs: dict[int, Tensor] = {}
        self.rows: Pixels = self._staged.numpy()

    def input_of(self, count: int) -> Tensor:
        """The first images as uint8 [count, C, H, W]; staged as height, width, channels, that is channels last."""
        found = self._inputs.get(count)
        if found is None:
            found = self._inputs[count] = self._staged[:count].permute(0, 3, 1, 2)
        return found
