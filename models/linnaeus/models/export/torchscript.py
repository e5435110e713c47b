"""Exports a model of the zoo as TorchScript."""

from pathlib import Path

import torch

from linnaeus.models.export.calibration_images import read_calibration_images
from linnaeus.models.export.version_folder import VersionContent, check_input, require_new_version, write_version
from linnaeus.models.manifest import (
    Weights,
)
from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier
from linnaeus.models.zoo_model import ModelWeights, ZooModel

_SCRIPT_TOLERANCE = 1e-5


def export_torchscript(
    model: ZooModel,
    weights: ModelWeights,
    repository: Path,
    version: int,
    labels: tuple[str, ...] | None = None,
    calibration: Path | None = None,
) -> Path:
    """Writes `<repository>/<name>/<version>` and returns it.

    Args:
        model: what to export.
        weights: its weights.
        repository: made if it is not existing.
        version: a positive integer.
        labels: one for each class of the weights, if not the model's own.
        calibration: a folder of pictures for the server to compare precisions by.

    Raises:
        FileExistsError: the version is existing already; versions never change.
        OSError, ValueError: existing are no pictures to read in the folder.
        RuntimeError: the TorchScript does not compute what the network computes.
    """
    require_new_version(repository, model.name, version)
    labels = labels or model.labels()
    pictures = read_calibration_images(calibration, model.input) if calibration else b""
    eager = eager_classifier(model, weights, len(labels))
    script = to_torchscript(eager)
    pixels = check_input(model.input)
    with torch.inference_mode():
        expected = eager(pixels)
        difference = (script(pixels) - expected).abs().max().item()
    # written so that a result that is not a number is refused as well
    if not difference <= _SCRIPT_TOLERANCE:
        raise RuntimeError(f"the TorchScript of {model.name} differs from the network by {difference:.2g}")
    content = VersionContent(
        name=model.name,
        architecture=model.family,
        input=model.input,
        labels=labels,
        weights=Weights(weights.source, weights.seed),
        script=script,
        probabilities=tuple(expected[0].tolist()),
        calibration=pictures,
    )
    return write_version(content, repository, version)


def to_torchscript(classifier: PixelClassifier) -> torch.jit.ScriptModule:
    """Compiles the whole; scripting keeps any batch, height and width possible where the network allows them."""
    script: torch.jit.ScriptModule = torch.jit.script(classifier)
    return script
