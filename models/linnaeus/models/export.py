"""Writes version folders: whole or not at all."""

import os
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from linnaeus.models.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    Check,
    InputSpec,
    Manifest,
    Weights,
    check_pixels,
    to_json,
)
from linnaeus.models.torchscript import eager_classifier, to_torchscript
from linnaeus.models.zoo_model import TrainedWeights, ZooModel

CHECK_SEED = "linnaeus check 1"
# Two float32 runs of one network on different processors differ by rounding only.
CHECK_TOLERANCE = 1e-3
_EXPORT_TOLERANCE = 1e-5


def check_input(spec: InputSpec, seed: str = CHECK_SEED) -> Tensor:
    """The recorded input as uint8 [1, C, H, W]."""
    pixels = torch.frombuffer(bytearray(check_pixels(spec, seed)), dtype=torch.uint8)
    return pixels.view(1, spec.height, spec.width, spec.channels).permute(0, 3, 1, 2)


def next_version(repository: Path, name: str) -> int:
    """One above the highest version there, 1 for a new model."""
    folder = repository / name
    there = [int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()] if folder.is_dir() else []
    return max(there, default=0) + 1


def export(
    model: ZooModel, weights: TrainedWeights, repository: Path, version: int, labels: tuple[str, ...] | None = None
) -> Path:
    """Writes `<repository>/<name>/<version>` and returns it.

    Args:
        model: what to export.
        weights: its weights.
        repository: made if it is not there.
        version: a positive integer.
        labels: one for each class of the weights, if not the model's own.

    Raises:
        FileExistsError: the version is there already; versions never change.
        RuntimeError: the TorchScript does not compute what the network computes.
    """
    target = repository / model.name / str(version)
    if target.exists():
        raise FileExistsError(f"{target} is there already, and versions never change; choose another --version")
    repository.mkdir(parents=True, exist_ok=True)
    # A dot keeps the server from taking a half-written folder for a model.
    partial = Path(tempfile.mkdtemp(prefix=".export-", dir=repository))
    try:
        _write(model, weights, version, labels or model.labels(), partial)
        target.parent.mkdir(exist_ok=True)
        partial.chmod(0o755)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _write(model: ZooModel, weights: TrainedWeights, version: int, labels: tuple[str, ...], folder: Path) -> None:
    eager = eager_classifier(model, weights, len(labels))
    script = to_torchscript(eager)
    pixels = check_input(model.input)
    with torch.inference_mode():
        expected = eager(pixels)
        difference = (script(pixels) - expected).abs().max().item()
    if difference > _EXPORT_TOLERANCE:
        raise RuntimeError(f"the TorchScript of {model.name} differs from the network by {difference:.2g}")
    script.save(str(folder / MODEL_FILE))
    manifest = Manifest(
        name=model.name,
        version=version,
        architecture=model.family,
        task="image-classification",
        input=model.input,
        classes=len(labels),
        weights=Weights(weights.source, weights.seed),
        parameters=sum(parameter.numel() for parameter in eager.parameters()),
        sha256=sha256((folder / MODEL_FILE).read_bytes()).hexdigest(),
        torch_version=str(torch.__version__),
        check=Check(CHECK_SEED, CHECK_TOLERANCE, tuple(expected[0].tolist())),
    )
    (folder / LABELS_FILE).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    (folder / MANIFEST_FILE).write_text(to_json(manifest), encoding="utf-8")
    _flush(folder)


def _flush(folder: Path) -> None:
    """Puts the files on the disk before the rename says that they are there."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
