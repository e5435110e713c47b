"""A model that sleeps instead of computing, so that replicas on one machine do not share its cores.

TorchScript cannot sleep, so the model calls an operator of torch that is registered here. Whatever process loads the
model imports this module first.
"""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import linnaeus.models.pixel_classifier  # noqa: F401  # silences what torch says of TorchScript
from linnaeus.models.export.version_folder import TorchScriptModel, VersionContent, check_input, write_version
from linnaeus.models.manifest import InputSpec, Weights

_CLASSES = 10
_SIDE = 28
# For as long as the process lives: the operator goes when the library is collected.
_LIBRARY: Any = torch.library.Library("linnaeus_bench", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("sleep(Tensor pixels, float seconds) -> Tensor")


def _sleep(pixels: Tensor, seconds: float) -> Tensor:
    time.sleep(seconds)
    return pixels.clone()


_LIBRARY.impl("sleep", _sleep, "CompositeExplicitAutograd")


class Sleeping(nn.Module):
    """Sleeps for each image, then gives every class the same probability."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps uint8 [N, C, H, W] to float32 [N, classes]."""
        slept: Tensor = torch.ops.linnaeus_bench.sleep(pixels, self.seconds * pixels.size(0))
        return torch.full([slept.size(0), 10], 0.1)


def write_sleeping_model(repository: Path, name: str, seconds: float) -> None:
    """Writes version 1 of a model that takes digits one by one, each for so many seconds."""
    script: torch.jit.ScriptModule = torch.jit.script(Sleeping(seconds).eval())
    spec = InputSpec(channels=1, height=_SIDE, width=_SIDE, resize=_SIDE, interpolation="bilinear")
    with torch.inference_mode():
        probabilities = tuple(script(check_input(spec))[0].tolist())
    content = VersionContent(
        name=name,
        architecture="sleeping",
        input=spec,
        labels=tuple(f"class {place}" for place in range(_CLASSES)),
        weights=Weights("constant"),
        model=TorchScriptModel(script),
        probabilities=probabilities,
    )
    write_version(content, repository, 1)
    config = 'runtime = "torchscript"\nmax_batch_size = 1\n'
    (repository / name / "config.toml").write_text(config, encoding="utf-8")
