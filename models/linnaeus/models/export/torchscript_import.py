"""Imports a user's own TorchScript classifier into a version folder."""

from dataclasses import dataclass
from pathlib import Path

import torch

from linnaeus.models.activation import Activation
from linnaeus.models.export.calibration_images import read_calibration_images
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
from linnaeus.models.manifest import InputSpec, Weights, check_name
from linnaeus.models.own_model.feature_output import feature_place
from linnaeus.models.own_model.graph_constants import count_parameters
from linnaeus.models.own_model.normalization import normalization_fault
from linnaeus.models.own_model.torchscript_file import load_torchscript
from linnaeus.models.own_model.trial_run import Usage, first_problem, prepare_network, try_network
from linnaeus.models.pixel_classifier import PixelClassifier, normalize


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a TorchScript file does not contain.

    Attributes:
        name: name of the model in the repository.
        input: how images are prepared for the model.
        mean, std: normalization per channel, for pixels scaled to 0..1.
        labels: one label per class.
        calibration: folder of images on which the server compares precisions; none if None.
        activation: what is put after the network; None for a softmax, if the network gives logits.
        features: names the features among the network's outputs, see `feature_place`; None for no features.

    Raises:
        ValueError: if no model may have this name, or mean or std cannot be right for pixels between 0 and 1.
    """

    name: str
    input: InputSpec
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    calibration: Path | None = None
    activation: Activation | None = None
    features: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        for option, values in (("mean", self.mean), ("std", self.std)):
            if fault := normalization_fault(option, values, self.input.channels):
                raise ValueError(fault)


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
    parameters = count_parameters(original)
    prepared = prepare_network(original, metadata.input)
    backbone = prepared.module
    usage = Usage(metadata.input, metadata.mean, metadata.std, metadata.labels, metadata.activation, metadata.features)
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
    if metadata.features is None:
        return PixelClassifier(backbone, metadata.mean, metadata.std, activation)
    with torch.inference_mode():
        outputs = backbone(normalize(check_input(metadata.input), metadata.mean, metadata.std))
    place = feature_place(outputs, metadata.features) or 1
    return TwoOutputClassifier(backbone, place, metadata.mean, metadata.std, activation)
