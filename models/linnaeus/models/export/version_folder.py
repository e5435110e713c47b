"""Writes version folders of the model repository, each atomically."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from linnaeus.models.export.calibration_images import manifest_entry
from linnaeus.models.manifest import (
    CALIBRATION_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    Check,
    InputSpec,
    Manifest,
    Quantization,
    Weights,
    check_labels,
    check_pixels,
    to_json,
    version_of_folder,
)
from linnaeus.models.model_format import MODEL_FILES, TORCHSCRIPT, model_files_digest
from linnaeus.models.output_folder import make_folder

CHECK_SEED = "linnaeus check 1"
# Float32 runs of one network on different processors differ by rounding.
CHECK_TOLERANCE = 1e-3
# Those of one that computes in half precision, by more: as much as a choice of precision may (decision 16).
HALF_CHECK_TOLERANCE = 0.02


def check_input(spec: InputSpec, seed: str = CHECK_SEED) -> Tensor:
    """Returns the input of the manifest's check as uint8 [1, C, H, W]."""
    pixels = torch.frombuffer(bytearray(check_pixels(spec, seed)), dtype=torch.uint8)
    return pixels.view(1, spec.height, spec.width, spec.channels).permute(0, 3, 1, 2)


def next_version(repository: Path, name: str) -> int:
    """Returns the highest existing version plus one; 1 for a new model."""
    folder = repository / name
    existing = [version_of_folder(entry.name) or 0 for entry in folder.iterdir()] if folder.is_dir() else []
    return max(existing, default=0) + 1


def require_new_version(repository: Path, name: str, version: int) -> None:
    """Checks, before any expensive work, that the version does not exist yet.

    Raises:
        FileExistsError: if it exists.
        ValueError: if the repository is no folder.
    """
    if repository.exists() and not repository.is_dir():
        raise ValueError(f"--repository {repository} is not a folder")
    folder = repository / name
    for entry in folder.iterdir() if folder.is_dir() else ():
        if version_of_folder(entry.name) == version:
            raise FileExistsError(f"{entry} is there already, and versions never change; choose another --version")


class StoredModel(Protocol):
    """A model in one of the formats, which can write its own files."""

    @property
    def model_format(self) -> str:
        """The format, as in the manifest."""

    @property
    def parameters(self) -> int:
        """The number of its parameters."""

    def save(self, folder: Path) -> None:
        """Writes the files of the format into the folder."""


@dataclass(frozen=True, slots=True)
class TorchScriptModel:
    """Implements `StoredModel`: TorchScript that maps uint8 [N, C, H, W] to probabilities [N, classes].

    Attributes:
        script: the module.
        parameter_count: of the network that it was made from; None counts the script's own, of which a frozen one has
            none.
    """

    script: torch.jit.ScriptModule
    parameter_count: int | None = None

    @property
    def model_format(self) -> str:
        """See `StoredModel`."""
        return TORCHSCRIPT

    @property
    def parameters(self) -> int:
        """See `StoredModel`."""
        if self.parameter_count is not None:
            return self.parameter_count
        return sum(parameter.numel() for parameter in self.script.parameters())

    def save(self, folder: Path) -> None:
        """Writes model.pt."""
        self.script.save(str(folder / MODEL_FILES[TORCHSCRIPT][0]))


@dataclass(frozen=True, slots=True)
class VersionContent:
    """The content of a version folder.

    Attributes:
        name, architecture, input, weights: as in the manifest.
        labels: one label per class.
        model: what maps uint8 [N, C, H, W] to probabilities [N, classes], or to them and features [N, d].
        probabilities: its output for `check_input(input)`, by class index.
        tolerance: how much the output may differ on another machine.
        calibration: the bytes of the calibration images, uint8 [N, H, W, C]; empty if there are none.
        features: number of features, d; 0 if the model gives none.
        quantization: how the version was quantized; None if it was not.
    """

    name: str
    architecture: str
    input: InputSpec
    labels: tuple[str, ...]
    weights: Weights
    model: StoredModel
    probabilities: tuple[float, ...]
    tolerance: float = CHECK_TOLERANCE
    calibration: bytes = b""
    features: int = 0
    quantization: Quantization | None = None


def write_version(content: VersionContent, repository: Path, version: int) -> Path:
    """Writes `<repository>/<name>/<version>` atomically and returns it.

    Raises:
        FileExistsError: if the version exists; versions are immutable.
        ValueError: if the content violates a rule of the manifest.
    """
    require_new_version(repository, content.name, version)
    _require_labels(content.labels)
    target = repository / content.name / str(version)
    make_folder(repository)
    # The server ignores names that begin with a dot, and so the incomplete folder.
    partial = Path(tempfile.mkdtemp(prefix=".export-", dir=repository))
    try:
        _write_files(content, version, partial)
        target.parent.mkdir(exist_ok=True)
        partial.chmod(0o755)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _require_labels(labels: tuple[str, ...]) -> None:
    try:
        check_labels(labels)
    except ValueError as error:
        raise ValueError(f"{LABELS_FILE} {error}") from None


def _write_files(content: VersionContent, version: int, folder: Path) -> None:
    content.model.save(folder)
    manifest = Manifest(
        name=content.name,
        version=version,
        architecture=content.architecture,
        task="image-classification",
        input=content.input,
        classes=len(content.labels),
        weights=content.weights,
        parameters=content.model.parameters,
        sha256=model_files_digest(folder, content.model.model_format),
        torch_version=str(torch.__version__),
        check=Check(CHECK_SEED, content.tolerance, content.probabilities),
        calibration=manifest_entry(content.calibration, content.input) if content.calibration else None,
        model_format=content.model.model_format,
        features=content.features,
        quantization=content.quantization,
    )
    if content.calibration:
        (folder / CALIBRATION_FILE).write_bytes(content.calibration)
    (folder / LABELS_FILE).write_text("".join(f"{label}\n" for label in content.labels), encoding="utf-8")
    (folder / MANIFEST_FILE).write_text(to_json(manifest), encoding="utf-8")
    _fsync(folder)


def _fsync(folder: Path) -> None:
    """Flushes the files to disk, so that the rename cannot become durable before them."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
