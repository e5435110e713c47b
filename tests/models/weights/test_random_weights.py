"""Weights come from where the user says, fit by name or are refused by name, and random ones can be told apart."""

from collections.abc import Callable

import pytest
import torch
from tests.models.weights.small_networks import SMALL, densenet, googlenet, resnet, row
from torch import nn

from linnaeus.models.pixel_classifier import eager_classifier, normalize
from linnaeus.models.registry import find
from linnaeus.models.weights.data_dependent_initialization import initialize_from_data, logit_spread
from linnaeus.models.weights.random_weights import random_weights
from linnaeus.models.weights.synthetic_images import synthetic_images


def sigmoids(classes: int) -> nn.Module:
    """Neither batch norm nor an affine end: distances, as LeNet-5 has them."""

    class Distances(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.codes = nn.Parameter(torch.randn(classes, 84).sign(), requires_grad=False)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return -(features.unsqueeze(1) - self.codes).square().sum(2)

    layers = [nn.Conv2d(3, 8, 5, 4), nn.Sigmoid(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(200, 84), nn.Sigmoid()]
    return nn.Sequential(*layers, Distances())


def without_biases(classes: int) -> nn.Module:
    layers = [nn.Conv2d(3, 8, 5, 4, bias=False), nn.ReLU(), nn.LocalResponseNorm(5), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*layers, nn.Conv2d(8, classes, 2), nn.Flatten())


@pytest.mark.parametrize("build", [resnet, densenet, googlenet, sigmoids, without_biases])
def test_random_logits_over_ten_pictures_spread_between_1_and_10_and_differ(build: Callable[[int], nn.Module]) -> None:
    model = row(build)
    weights = random_weights(model, seed=3)
    assert (weights.source, weights.seed) == ("random", 3)
    network = eager_classifier(model, weights).backbone
    with torch.inference_mode():
        logits = network(normalize(synthetic_images(SMALL, 10, seed=77), model.mean, model.std))
    assert 1 < logit_spread(logits) < 10
    assert len(set(logits.argmax(1).tolist())) > 1, "one class is ahead whatever is seen"


def test_random_weights_are_the_same_for_the_same_seed_only_and_leave_the_callers_luck_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (random_weights(find("lenet"), seed).state for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_a_network_that_sees_nothing_is_refused() -> None:
    blind = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(RuntimeError, match="same logits to every picture, try another --seed"):
        initialize_from_data(blind, torch.zeros(2, 3, 8, 8))
