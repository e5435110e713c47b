"""Runs batches on the CPU: the calling thread stages a batch, runs it and reads the answers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from linnaeus.models.manifest import InputSpec
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.model_outputs import split_outputs
from linnaeus.server.runtime.runner import BatchOutput, Pixels
from linnaeus.server.runtime.staging import stage
from linnaeus.server.runtime.topk import top_k
from linnaeus.server.runtime.torch_module import TorchModule


class CpuRunner:
    """Implements `Runner`; each concurrent run has its own staging buffer.

    Args:
        module: the model, on the CPU.
        spec: the model's input.
        largest: the largest batch size.
    """

    def __init__(self, module: TorchModule, spec: InputSpec, largest: int) -> None:
        self._module = module
        self._image_shape = (spec.height, spec.width, spec.channels)
        self._largest = largest
        self._staging: list[_Staging] = []  # free buffers

    def run(self, images: Sequence[Pixels], k: int, want_features: bool = False) -> BatchOutput:
        """Runs one batch; see `Runner`."""
        staging = self._take_staging()
        try:
            stage(images, staging.rows)
            return self._run_staged(staging.input_of(len(images)), k, want_features)
        finally:
            self._staging.append(staging)

    def keep_sizes(self, sizes: Sequence[int]) -> None:
        """Frees the buffers of larger batches; see `Runner`."""
        self._largest = sizes[-1]
        self._staging.clear()

    def keep_cores(self, alone: int, beside: int) -> None:
        """Does nothing: the calling thread's share of the cores is torch's own setting; see `Runner`."""

    def settle(self) -> None:
        """Does nothing: the module is all that is held; see `Runner`."""

    def close(self) -> None:
        """Frees the buffers; see `Runner`."""
        self._staging.clear()

    def _run_staged(self, staged: Tensor, k: int, want_features: bool) -> BatchOutput:
        with torch.inference_mode(), without_profiling():
            probabilities, features = split_outputs(self._module(staged))
            values, indices = top_k(probabilities.numpy(), k)
            wanted = features.numpy() if features is not None and want_features else None
            return BatchOutput(indices, values, wanted)

    def _take_staging(self) -> "_Staging":
        """Returns a free buffer, or a new one."""
        try:
            return self._staging.pop()
        except IndexError:
            return _Staging((self._largest, *self._image_shape))


class _Staging:
    """A staging buffer for one batch, with cached tensor views of its first rows.

    Attributes:
        rows: uint8 [largest, H, W, C].
    """

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self._staged = torch.zeros(shape, dtype=torch.uint8)
        self._inputs: dict[int, Tensor] = {}
        self.rows: Pixels = self._staged.numpy()

    def input_of(self, count: int) -> Tensor:
        """Returns the first `count` images as uint8 [count, C, H, W] in channels-last memory format."""
        found = self._inputs.get(count)
        if found is None:
            found = self._inputs[count] = self._staged[:count].permute(0, 3, 1, 2)
        return found
