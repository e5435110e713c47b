"""Exports a model of the zoo as TorchScript into a version folder."""

from pathlib import Path

import torch

from linnaeus.models.export.calibration_images import read_calibration_images
from linnaeus.models.export.version_folder import (
    TorchScriptModel,
    VersionContent,
    check_input,
    require_new_version,
    write_version,
)
from linnaeus.models.manifest import Weights
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
        model: the model to export.
        weights: its weights.
        repository: the model repository; created if it does not exist.
        version: a positive integer.
        labels: one label per class of the weights; the model's own if None.
        calibration: folder of images on which the server compares precisions; none if None.

    Raises:
        FileExistsError: if the version exists; versions are immutable.
        OSError: if the calibration folder or an image in it cannot be read.
        ValueError: if the calibration folder contains no image.
        RuntimeError: if the TorchScript does not compute what the network computes.
    """
    require_new_version(repository, model.name, version)
    labels = labels or model.labels()
    calibration_images = read_calibration_images(calibration, model.input) if calibration else b""
    eager = eager_classifier(model, weights, len(labels))
    script = to_torchscript(eager)
    pixels = check_input(model.input)
    with torch.inference_mode():
        expected = eager(pixels)
        difference = (script(pixels) - expected).abs().max().item()
    # not `>`: NaN must fail as well
    if not difference <= _SCRIPT_TOLERANCE:
        raise RuntimeError(f"the TorchScript of {model.name} differs from the network by {difference:.2g}")
    content = VersionContent(
        name=model.name,
        architecture=model.family,
        input=model.input,
        labels=labels,
        weights=Weights(weights.source, weights.seed),
        model=TorchScriptModel(script),
        probabilities=tuple(expected[0].tolist()),
        calibration=calibration_images,
    )
    return write_version(content, repository, version)


def to_torchscript(classifier: PixelClassifier) -> torch.jit.ScriptModule:
    """Scripts the classifier; scripting, unlike tracing, keeps batch size, height and width variable."""
    script: torch.jit.ScriptModule = torch.jit.script(classifier)
    return script
