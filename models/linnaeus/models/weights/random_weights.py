"""Random weights: for trying the service, never for answers."""

import torch
from torch import nn

from linnaeus.models.pixel_classifier import normalize
from linnaeus.models.weights.data_dependent_initialization import initialize_from_data
from linnaeus.models.weights.synthetic_images import synthetic_images
from linnaeus.models.zoo_model import ModelWeights, ZooModel

RANDOM = "random"
# With four, a RegNet's logits ran off by a factor of a hundred on others; more cost seconds on a VGG.
_IMAGES = 8


def random_weights(model: ZooModel, seed: int, classes: int | None = None) -> ModelWeights:
    """Draws weights and fits them to a few pictures; the same seed gives the same weights.

    Args:
        model: what to draw for.
        seed: 0 or more.
        classes: if not the model's own.
    """
    network = _initialized_network(model, seed, classes or model.classes)
    initialize_from_data(network, normalize(synthetic_images(model.input, _IMAGES, seed), model.mean, model.std))
    return ModelWeights(network.state_dict(), RANDOM, seed)


def _initialized_network(model: ZooModel, seed: int, classes: int) -> nn.Module:
    """The network as its initialisation leaves it; the caller's random numbers go on undisturbed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.build(classes)
