"""Exports a model of the zoo as TorchScript into a version folder."""

from pathlib import Path

import torch

from linnaeus.models.activation import Activation
from linnaeus.models.export.calibration_images import read_calibration_images
from linnaeus.models.export.version_folder import (
    TorchScriptModel,
    VersionContent,
    check_input,
    require_new_version,
    write_version,
)
from linnaeus.models.feature_classifier import FeatureClassifier, append_features
from linnaeus.models.manifest import Weights
from linnaeus.models.own_model.finding import Severity
from linnaeus.models.own_model.outputs import judge_activation
from linnaeus.models.own_model.trial_images import trial_images
from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier, normalize
from linnaeus.models.zoo_model import ModelWeights, ZooModel

_SCRIPT_TOLERANCE = 1e-5


def export_torchscript(
    model: ZooModel,
    weights: ModelWeights,
    repository: Path,
    version: int,
    labels: tuple[str, ...] | None = None,
    calibration: Path | None = None,
    activation: Activation = Activation.SOFTMAX,
    features: bool = False,
) -> Path:
    """Writes `<repository>/<name>/<version>` and returns it.

    Args:
        model: the model to export.
        weights: its weights.
        repository: the model repository; created if it does not exist.
        version: a positive integer.
        labels: one label per class of the weights; the model's own if None.
        calibration: folder of images on which the server compares precisions; none if None.
        activation: what is put after the network.
        features: whether the version gives the inputs of the network's last layer, too.

    Raises:
        FileExistsError: if the version exists; versions are immutable.
        OSError: if the calibration folder or an image in it cannot be read.
        ValueError: if the calibration folder contains no image, or the network does not give probabilities although
            no activation is put after it, or features are wanted of a network that has none.
        RuntimeError: if the TorchScript does not compute what the network computes.
    """
    require_new_version(repository, model.name, version)
    labels = labels or model.labels()
    calibration_images = read_calibration_images(calibration, model.input) if calibration else b""
    eager = probability_classifier(model, weights, len(labels), activation)
    pixels = check_input(model.input)
    with torch.inference_mode():
        expected = eager(pixels)
    if features:
        eager = feature_classifier(model, eager, len(labels), activation)
    script = to_torchscript(eager)
    with torch.inference_mode():
        outputs = script(pixels)
    probabilities = outputs[0] if features else outputs
    # not `>`: NaN must fail as well
    if probabilities.shape != expected.shape or not (probabilities - expected).abs().max() <= _SCRIPT_TOLERANCE:
        raise RuntimeError(f"the TorchScript of {model.name} does not give what the network gives")
    content = VersionContent(
        name=model.name,
        architecture=model.family,
        input=model.input,
        labels=labels,
        weights=Weights(weights.source, weights.seed),
        model=TorchScriptModel(script),
        probabilities=tuple(expected[0].tolist()),
        calibration=calibration_images,
        features=outputs[1].shape[1] if features else 0,
    )
    return write_version(content, repository, version)


def probability_classifier(
    model: ZooModel, weights: ModelWeights, classes: int, activation: Activation
) -> PixelClassifier:
    """Builds a model with weights, as `eager_classifier` does, whose outputs are probabilities.

    Raises:
        ValueError: if no activation is put after the network, and its outputs are none.
    """
    eager = eager_classifier(model, weights, classes, activation)
    if activation is Activation.NONE:
        with torch.inference_mode():
            judged = judge_activation(eager(trial_images(model.input)), has_sigmoid=False, wanted=activation)
        if judged.severity is Severity.PROBLEM:
            raise ValueError(f"{model.name} {judged.text}; {judged.advice}")
    return eager


def feature_classifier(
    model: ZooModel, eager: PixelClassifier, classes: int, activation: Activation
) -> FeatureClassifier:
    """Changes the network of a classifier so that it gives features, too.

    Raises:
        ValueError: if it has none that can be given; see `append_features`.
    """
    append_features(eager.backbone, classes, normalize(check_input(model.input), model.mean, model.std))
    return FeatureClassifier(eager.backbone, classes, model.mean, model.std, activation).eval()


def to_torchscript(classifier: PixelClassifier) -> torch.jit.ScriptModule:
    """Scripts the classifier; scripting, unlike tracing, keeps batch size, height and width variable."""
    script: torch.jit.ScriptModule = torch.jit.script(classifier)
    return script
