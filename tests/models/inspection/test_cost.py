"""The cost of a network is what one counts on paper."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision import models

from linnaeus.models.architectures.anynet import Stage, anynet
from linnaeus.models.inspection.cost import Cost, measure_cost
from linnaeus.models.zoo_entries.regnet import (
    published_network,
)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def test_a_cost_is_what_one_counts_on_paper() -> None:
    stages = (Stage(1, 8, bottleneck_ratio=2, group_width=2),)
    # 9x9 pixels: the stem's map is 5x5, the stage's 3x3, its first convolution still 5x5; inside there are 4 channels
    parameters = (9 * 32 + 64) + (32 * 8 + 16) + (32 * 4 + 8) + (4 * 9 * 2 + 8) + (4 * 8 + 16) + (8 + 1) * 5
    multiply_adds = 25 * 9 * 32 + 9 * 32 * 8 + 25 * 32 * 4 + 9 * 4 * 9 * 2 + 9 * 4 * 8 + 8 * 5
    activations = 25 * 32 + 9 * 8 + 25 * 4 + 9 * 4 + 9 * 8
    for network in (anynet(stages, 5, channels=1), on_meta(lambda: anynet(stages, 5, channels=1))):
        assert measure_cost(network, (1, 9, 9)) == Cost(parameters, multiply_adds, activations)
        assert network.training, "counting must leave the network as it was"


@pytest.mark.parametrize("name", ["regnet_x_400mf", "regnet_y_400mf", "regnet_x_3_2gf"])
def test_multiply_adds_are_the_published_ones(name: str) -> None:
    billions = measure_cost(on_meta(lambda: published_network(name, 1000)), (3, 224, 224)).multiply_adds / 1e9
    assert round(billions, 3) == models.get_model_weights(name).DEFAULT.meta["_ops"]
