"""Models that misbehave on purpose: one can become twice as slow, one raises now and then.

Each wraps an exported artifact, so that the server treats it like any other. This module imports torch; processes that
only send requests must not import it.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.common.scripted_model import write_scripted_model
from linnaeus.models.manifest import LABELS_FILE, MODEL_FILE, read_manifest

RAISES_ONE_IN = 50


class SlowingModel(nn.Module):
    """Runs a model twice if an image of the batch has a white top left corner; takes uint8 [N, C, H, W]."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps pixels to the inner model's probabilities."""
        corners = pixels[:, :, :8, :8].to(torch.float32).mean(dim=[1, 2, 3])
        result: Tensor = self.inner(pixels)
        if float(corners.max()) > 240.0:
            # Flipped, so that the optimizer cannot merge the two runs.
            result = 0.5 * (result + self.inner(pixels.flip(0)).flip(0))
        return result


class FailingModel(nn.Module):
    """Raises on about one batch in fifty, but never on a single image, nor on the blank images of the warm-up."""

    def __init__(self, inner: nn.Module, one_in: int) -> None:
        super().__init__()
        self.inner = inner
        self.probability = 1.0 / one_in

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps pixels to the inner model's probabilities."""
        if pixels.shape[0] > 1 and bool(pixels.any()) and float(torch.rand([1])) < self.probability:
            raise RuntimeError("this model fails on purpose")
        result: Tensor = self.inner(pixels)
        return result


def export_slowing(source: Path, name: str, repository: Path) -> None:
    """Writes `<repository>/<name>/1`: the version folder `source` as a `SlowingModel`."""
    _export(SlowingModel(_load(source)), source, name, repository)


def export_failing(source: Path, name: str, repository: Path) -> None:
    """Writes `<repository>/<name>/1`: the version folder `source` as a `FailingModel`."""
    _export(FailingModel(_load(source), RAISES_ONE_IN), source, name, repository)


def _load(folder: Path) -> nn.Module:
    module: torch.jit.ScriptModule = torch.jit.load(str(folder / MODEL_FILE))  # type: ignore[no-untyped-call]
    return module.eval()


def _export(module: nn.Module, source: Path, name: str, repository: Path) -> None:
    manifest = read_manifest(source)
    labels = tuple((source / LABELS_FILE).read_text(encoding="utf-8").splitlines())
    write_scripted_model(
        module,
        repository,
        name,
        manifest.input,
        labels,
        architecture=manifest.architecture,
        weights=manifest.weights,
    )
