"""Random weights, for trying the service; the predictions are meaningless."""

import torch
from torch import nn

from linnaeus.models.pixel_classifier import normalize
from linnaeus.models.weights.data_dependent_initialization import initialize_from_data
from linnaeus.models.weights.synthetic_images import synthetic_images
from linnaeus.models.zoo_model import ModelWeights, ZooModel

RANDOM = "random"
# With four, the logits of a RegNet were a hundred times larger on other images; more take seconds on a VGG.
_IMAGES = 8


def random_weights(model: ZooModel, seed: int, classes: int | None = None) -> ModelWeights:
    """Draws random weights and scales them on synthetic images; the same seed gives the same weights.

    Args:
        model: the model to draw weights for.
        seed: at least 0.
        classes: number of classes; the model's own if None.
    """
    network = _initialized_network(model, seed, classes or model.classes)
    initialize_from_data(network, normalize(synthetic_images(model.input, _IMAGES, seed), model.mean, model.std))
    return ModelWeights(network.state_dict(), RANDOM, seed)


def _initialized_network(model: ZooModel, seed: int, classes: int) -> nn.Module:
    """Builds the network with its own initialization; preserves the state of torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.build(classes)
