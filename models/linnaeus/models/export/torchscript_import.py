"""Imports a user's own TorchScript classifier into a version folder."""

from pathlib import Path

import torch

from linnaeus.models.activation import Activation
from linnaeus.models.export.calibration_images import read_calibration_images
from linnaeus.models.export.model_metadata import ModelMetadata
from linnaeus.models.export.torchscript import to_torchscript
from linnaeus.models.export.version_folder import (
    CHECK_TOLERANCE,
    HALF_CHECK_TOLERANCE,
    TorchScriptModel,
    VersionContent,
    check_input,
    require_new_version,
    write_version,
)
from linnaeus.models.feature_classifier import TwoOutputClassifier
from linnaeus.models.manifest import Weights
from linnaeus.models.own_model.feature_output import feature_place
from linnaeus.models.own_model.graph_constants import count_parameters
from linnaeus.models.own_model.torchscript_file import load_torchscript
from linnaeus.models.own_model.trial_run import Usage, first_problem, prepare_network, try_network
from linnaeus.models.pixel_classifier import PixelClassifier, normalize


def import_torchscript(path: Path, metadata: ModelMetadata, repository: Path, version: int) -> Path:
    """Wraps the TorchScript in `path` with normalization and an activation; writes `<repository>/<name>/<version>`.

    Returns:
        The version folder.

    Raises:
        FileExistsError: if the version exists.
        OSError: if the file or a calibration image cannot be read.
        ValueError: if the file is not TorchScript, would answer wrongly, or the calibration folder contains no image.
    """
    require_new_version(repository, metadata.name, version)
    calibration = read_calibration_images(metadata.calibration, metadata.input) if metadata.calibration else b""
    original = load_torchscript(path)
    mean, std = metadata.normalization()
    parameters = count_parameters(original)
    prepared = prepare_network(original, metadata.input)
    backbone = prepared.module
    usage = Usage(metadata.input, mean, std, metadata.labels, metadata.activation, metadata.features)
    if found := first_problem(try_network(backbone, usage)):
        raise ValueError(f"{path} {found.text}; {found.advice}")
    script = to_torchscript(_classifier(backbone, metadata).eval())
    with torch.inference_mode():
        outputs = script(check_input(metadata.input))
    expected, features = (outputs, None) if metadata.features is None else outputs
    content = VersionContent(
        name=metadata.name,
        architecture=str(original.original_name),
        input=metadata.input,
        labels=metadata.labels,
        weights=Weights(f"imported from {path.name}"),
        model=TorchScriptModel(script, parameters),
        probabilities=tuple(expected[0].tolist()),
        tolerance=HALF_CHECK_TOLERANCE if prepared.precision.itemsize == 2 else CHECK_TOLERANCE,
        calibration=calibration,
        features=0 if features is None else features.shape[1],
    )
    return write_version(content, repository, version)


def _classifier(backbone: torch.jit.ScriptModule, metadata: ModelMetadata) -> PixelClassifier:
    activation = metadata.activation or Activation.SOFTMAX
    mean, std = metadata.normalization()
    if metadata.features is None:
        return PixelClassifier(backbone, mean, std, activation)
    with torch.inference_mode():
        outputs = backbone(normalize(check_input(metadata.input), mean, std))
    place = feature_place(outputs, metadata.features) or 1
    return TwoOutputClassifier(backbone, place, mean, std, activation)
