"""Imports a user's own TorchScript classifier into a version folder.

Such a model must map float32 [N, C, H, W] to logits [N, classes], its output for an image must not depend on the other
images of the batch, and it must not name a device.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from linnaeus.models.export.calibration_images import read_calibration_images
from linnaeus.models.export.hardcoded_devices import find_hardcoded_device
from linnaeus.models.export.torchscript import to_torchscript
from linnaeus.models.export.version_folder import VersionContent, check_input, require_new_version, write_version
from linnaeus.models.manifest import InputSpec, Weights
from linnaeus.models.pixel_classifier import PixelClassifier, normalize

_BATCH_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a TorchScript file does not contain.

    Attributes:
        name: name of the model in the repository.
        input: how images are prepared for the model.
        mean, std: normalization per channel, for pixels scaled to 0..1.
        labels: one label per class.
        calibration: folder of images on which the server compares precisions; none if None.

    Raises:
        ValueError: if mean or std do not match the channels, or a std is not positive.
    """

    name: str
    input: InputSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    calibration: Path | None = None

    def __post_init__(self) -> None:
        for what, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.input.channels:
                raise ValueError(f"--{what} has {len(values)} numbers, but there are {self.input.channels} channels")
        if not min(self.std) > 0:
            raise ValueError("--std must be above 0")


def import_torchscript(path: Path, metadata: ModelMetadata, repository: Path, version: int) -> Path:
    """Wraps the TorchScript in `path` with normalization and softmax; writes `<repository>/<name>/<version>`.

    Returns:
        The version folder.

    Raises:
        FileExistsError: if the version exists.
        OSError: if the file or a calibration image cannot be read.
        ValueError: if the file is not TorchScript, is not a classifier as this module requires, or the calibration
            folder contains no image.
    """
    require_new_version(repository, metadata.name, version)
    calibration = read_calibration_images(metadata.calibration, metadata.input) if metadata.calibration else b""
    backbone = _load(path)
    if reason := find_hardcoded_device(backbone):
        raise ValueError(f"{path} has a device baked in: {reason}; script it, or trace it without naming a device")
    _check_outputs(backbone, metadata, path)
    script = to_torchscript(PixelClassifier(backbone, metadata.mean, metadata.std).eval())
    with torch.inference_mode():
        expected = script(check_input(metadata.input))
    content = VersionContent(
        name=metadata.name,
        architecture=str(backbone.original_name),
        input=metadata.input,
        labels=metadata.labels,
        weights=Weights(f"imported from {path.name}"),
        script=script,
        probabilities=tuple(expected[0].tolist()),
        calibration=calibration,
    )
    return write_version(content, repository, version)


def _load(path: Path) -> torch.jit.ScriptModule:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            str(path), map_location="cpu"
        )
    except RuntimeError as error:
        raise ValueError(f"{path} is not TorchScript; save the model with torch.jit.script(model).save(...)") from error
    # a frozen module has no training mode; `find_hardcoded_device` refuses it
    return module.eval() if hasattr(module, "training") else module


def _check_outputs(backbone: torch.jit.ScriptModule, metadata: ModelMetadata, path: Path) -> None:
    """Runs one image alone, and the same image in a batch of two; raises ValueError if the logits are unusable."""
    first = normalize(check_input(metadata.input), metadata.mean, metadata.std)
    second = normalize(check_input(metadata.input, "linnaeus neighbour"), metadata.mean, metadata.std)
    alone = _logits(backbone, first, metadata, path)
    together = _logits(backbone, torch.cat([first, second]), metadata, path)
    if not torch.isfinite(together).all():
        raise ValueError(f"{path} gives logits that are not finite")
    if (together.min() >= 0) and torch.allclose(together.sum(1), torch.ones(2), atol=1e-4):
        raise ValueError(f"{path} gives probabilities, but logits are wanted: leave its softmax out")
    if not torch.allclose(alone[0], together[0], rtol=_BATCH_TOLERANCE, atol=_BATCH_TOLERANCE):
        raise ValueError(f"{path} answers differently when another picture is in the batch")


def _logits(backbone: torch.jit.ScriptModule, images: Tensor, metadata: ModelMetadata, path: Path) -> Tensor:
    count, *shape = images.shape
    try:
        with torch.inference_mode():
            logits = backbone(images)
    except RuntimeError as error:
        size = "x".join(map(str, shape))
        raise ValueError(
            f"{path} fails for a batch of {count} pictures of {size}, float32: {_last_line(error)}"
        ) from error
    _check_shape(logits, count, metadata, path)
    result: Tensor = logits.to(torch.float32)
    return result


def _check_shape(logits: object, count: int, metadata: ModelMetadata, path: Path) -> None:
    if not isinstance(logits, Tensor):
        raise ValueError(f"{path} gives a {type(logits).__name__}, but must give one tensor of logits")
    if logits.dim() != 2 or logits.shape[0] != count:
        raise ValueError(
            f"{path} gives the shape {list(logits.shape)} for {count} pictures, but must give [{count}, classes]"
        )
    if logits.shape[1] != len(metadata.labels):
        raise ValueError(f"{path} tells {logits.shape[1]} classes apart, but there are {len(metadata.labels)} labels")


def _last_line(error: RuntimeError) -> str:
    """Returns the last line of a TorchScript error, which has the reason; the lines before it are code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^RuntimeError: ", "", lines[-1]) if lines else "no reason given"
