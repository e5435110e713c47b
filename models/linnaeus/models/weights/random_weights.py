"""Random weights: for trying the service, never for answers."""

import torch
from torch import nn

from linnaeus.models.pixel_classifier import normalise
from linnaeus.models.weights.data_dependent_initialization import calibrate
from linnaeus.models.weights.synthetic_images import pictures
from linnaeus.models.zoo_model import TrainedWeights, ZooModel

RANDOM = "random"
# With four, a RegNet's logits ran off by a factor of a hundred on others; more cost seconds on a VGG.
_PICTURES = 8


def random_weights(model: ZooModel, seed: int, classes: int | None = None) -> TrainedWeights:
    """Draws weights and fits them to a few pictures; the same seed gives the same weights.

    Args:
        model: what to draw for.
        seed: 0 or more.
        classes: if not the model's own.
    """
    network = _initialised(model, seed, classes or model.classes)
    calibrate(network, normalise(pictures(model.input, _PICTURES, seed), model.mean, model.std))
    return TrainedWeights(network.state_dict(), RANDOM, seed)


def _initialised(model: ZooModel, seed: int, classes: int) -> nn.Module:
    """The network as its initialisation leaves it; the caller's random numbers go on undisturbed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.build(classes)
