"""A model that sleeps instead of computing, so that servers on one machine do not share its cores.

TorchScript cannot sleep, so the model calls an operator of torch that is registered here. A process that loads the
model imports this module first.
"""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common.scripted_model import numbered_labels, use_torchscript, write_scripted_model
from linnaeus.models.manifest import InputSpec

_CLASSES = 10
_SIDE = 28
# For as long as the process lives: the operator goes when the library is collected.
_LIBRARY: Any = torch.library.Library("linnaeus_bench", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("sleep(Tensor pixels, float seconds) -> Tensor")


def _sleep(pixels: Tensor, seconds: float) -> Tensor:
    time.sleep(seconds)
    return pixels.clone()


_LIBRARY.impl("sleep", _sleep, "CompositeExplicitAutograd")


class SleepingModel(nn.Module):
    """Sleeps for each batch and for each of its images, then gives every class the same probability."""

    def __init__(self, image_seconds: float, batch_seconds: float) -> None:
        super().__init__()
        self.image_seconds = image_seconds
        self.batch_seconds = batch_seconds

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps uint8 [N, C, H, W] to float32 [N, classes]."""
        seconds = self.batch_seconds + self.image_seconds * pixels.size(0)
        slept: Tensor = torch.ops.linnaeus_bench.sleep(pixels, seconds)
        return torch.full([slept.size(0), 10], 0.1)


def write_sleeping_model(
    repository: Path, name: str, image_seconds: float, batch_seconds: float = 0.0, max_batch_size: int = 1
) -> None:
    """Writes version 1 of a model that takes digits: so many seconds for a batch, and so many for each image of it."""
    spec = InputSpec(channels=1, height=_SIDE, width=_SIDE, resize=_SIDE, interpolation="bilinear")
    labels = numbered_labels("class", _CLASSES)
    model = SleepingModel(image_seconds, batch_seconds)
    version = write_scripted_model(model, repository, name, spec, labels, architecture="sleeping")
    use_torchscript(version, f"max_batch_size = {max_batch_size}\n")
