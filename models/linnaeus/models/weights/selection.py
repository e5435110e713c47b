"""Which weights a user means by `--weights`."""

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
    """What may be said after `--weights` for this model; FILE stands for a file's path."""
    return (*[BUNDLED] * (model.bundled is not None), *[DEFAULT] * (model.download is not None), RANDOM, FILE)


def select_weights(
    model: ZooModel, word: str, seed: int = 0, classes: int | None = None
) -> tuple[ZooModel, ModelWeights]:
    """Gets the weights.

    Args:
        model: whose weights.
        word: bundled, random, DEFAULT or the path of a file.
        seed: for random ones.
        classes: how many classes, if not as many as the model's own.

    Returns:
        The model, with the input that these weights want, and the weights.

    Raises:
        ValueError: there are none of the kind, or they do not fit.
        OSError: the file cannot be read, or nothing be downloaded.
    """
    if word == RANDOM:
        return model, random_weights(model, seed, classes)
    if word == DEFAULT:
        return download_weights(model, classes)
    if word == BUNDLED:
        return model, _bundled_weights(model, classes or model.classes)
    return model, weights_from_file(model, Path(word), classes)


def _bundled_weights(model: ZooModel, classes: int) -> ModelWeights:
    weights = model.bundled_weights()
    convert_state_dict(weights.state, model, classes, f"what comes with {model.name}")
    return weights
