"""Selects the weights that the option `--weights` names."""

from pathlib import Path

from linnaeus.models.weights import random_weights as untrained
from linnaeus.models.weights.downloads import download_weights
from linnaeus.models.weights.random_weights import random_weights
from linnaeus.models.weights.state_dict_conversion import convert_state_dict
from linnaeus.models.weights.state_dict_file import weights_from_file
from linnaeus.models.zoo_model import ModelWeights, ZooModel

BUNDLED = "bundled"
DEFAULT = "DEFAULT"
FILE = "FILE"
RANDOM = untrained.RANDOM


def available_sources(model: ZooModel) -> tuple[str, ...]:
    """Returns the valid values of `--weights` for this model; FILE stands for the path of a file."""
    return (*[BUNDLED] * (model.bundled is not None), *[DEFAULT] * (model.download is not None), RANDOM, FILE)


def select_weights(
    model: ZooModel, source: str, seed: int = 0, classes: int | None = None
) -> tuple[ZooModel, ModelWeights]:
    """Loads, downloads or draws the weights that `source` names.

    Args:
        model: the model whose weights to get.
        source: `bundled`, `random`, `DEFAULT` (torchvision's, downloaded) or the path of a file.
        seed: seed of random weights.
        classes: number of classes; the model's own if None.

    Returns:
        The model with the input that these weights need, and the weights.

    Raises:
        ValueError: if the model has no such weights, or they do not fit.
        OSError: if the file cannot be read, or the download fails.
    """
    if source == RANDOM:
        return model, random_weights(model, seed, classes)
    if source == DEFAULT:
        return download_weights(model, classes)
    if source == BUNDLED:
        return model, _bundled_weights(model, classes or model.classes)
    return model, weights_from_file(model, Path(source), classes)


def _bundled_weights(model: ZooModel, classes: int) -> ModelWeights:
    weights = model.bundled_weights()
    convert_state_dict(weights.state, model, classes, f"what comes with {model.name}")
    return weights
