"""Fresh parameters by layer type."""

import math

import pytest
import torch
from torch import nn

from linnaeus.models.architectures.initialization import initialize_layers
from linnaeus.models.architectures.lenet import LeNet


def test_initialising_draws_by_layer_type_and_is_repeatable() -> None:
    network = nn.Sequential(nn.Conv2d(8, 256, 3), nn.BatchNorm2d(256), nn.Linear(400, 600), nn.PReLU())
    deviations = {
        "kaiming": (math.sqrt(2 / (256 * 9)), math.sqrt(2 / 600)),
        "xavier": (math.sqrt(2 / (264 * 9)), math.sqrt(2 / 1000)),
        "normal": (0.05, 0.05),
    }
    for scheme, expected in deviations.items():
        for values in network.state_dict().values():
            values.fill_(3)
        initialize_layers(network, scheme, seed=5, std=0.05)
        assert [network[0].weight.std().item(), network[2].weight.std().item()] == pytest.approx(expected, rel=0.02)
        assert abs(network[2].weight.mean().item()) < 0.001
        assert not network[0].bias.any() and not network[2].bias.any() and not network[1].running_mean.any()
        assert (network[1].weight == 1).all() and (network[1].running_var == 1).all()
        assert network[3].weight.item() == 3
    before = network[0].weight.clone()
    initialize_layers(network, "normal", seed=6, std=0.05)
    assert not torch.equal(network[0].weight, before)
    initialize_layers(network, "normal", seed=5, std=0.05)
    assert torch.equal(network[0].weight, before)


def test_an_unknown_initialisation_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no initialisation 'zeros'; there are: kaiming, xavier, normal"):
        initialize_layers(LeNet(), "zeros")  # type: ignore[arg-type]
