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
from linnaeus.models.manifest import Weights
from linnaeus.models.own_model.graph_constants import count_parameters
from linnaeus.models.own_model.torchscript_file import load_torchscript
from linnaeus.models.own_model.trial_run import Usage, first_problem, prepare_network, try_network
from linnaeus.models.pixel_classifier import PixelClassifier


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
    usage = Usage(metadata.input, mean, std, metadata.labels, metadata.activation)
    if found := first_problem(try_network(backbone, usage)):
        raise ValueError(f"{path} {found.text}; {found.advice}")
    activation = metadata.activation or Activation.SOFTMAX
    script = to_torchscript(PixelClassifier(backbone, mean, std, activation).eval())
    with torch.inference_mode():
        expected = script(check_input(metadata.input))
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
    )
    return write_version(content, repository, version)
