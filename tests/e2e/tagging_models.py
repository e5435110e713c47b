"""A repository with a model of ten independent labels: LeNet with a sigmoid behind it, called `tags`."""

from dataclasses import replace
from pathlib import Path

import torch

from linnaeus.models.activation import Activation
from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier
from linnaeus.models.registry import find
from linnaeus.models.weights.random_weights import random_weights
from linnaeus.models.zoo_model import ModelWeights, ZooModel

TAGS: ZooModel = replace(find("lenet"), name="tags")


def tag_weights() -> ModelWeights:
    """Returns random weights: their logits are small, so that several labels fit a picture and several do not."""
    return random_weights(TAGS, 7)


def write_tags(repository: Path) -> Path:
    """Writes version 1 of the model and returns its folder."""
    return export_torchscript(TAGS, tag_weights(), repository, 1, activation=Activation.SIGMOID)


def tags_network() -> PixelClassifier:
    """Returns what the model must compute: uint8 [N, 1, 28, 28] to probabilities [N, 10]."""
    return eager_classifier(TAGS, tag_weights(), activation=Activation.SIGMOID)


def probabilities(pixels: torch.Tensor) -> list[float]:
    """Returns the probabilities of one image, uint8 [28, 28]."""
    with torch.inference_mode():
        return tags_network()(pixels[None, None])[0].tolist()
