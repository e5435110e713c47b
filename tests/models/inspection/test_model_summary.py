"""A network's layers have the right kernels, output shapes, parameters and multiply-adds."""

import pytest
from tests.models.inspection.networks import Branching, torchvision_network
from torchvision.models import get_model_weights

from linnaeus.models.architectures.lenet import LeNet
from linnaeus.models.inspection.model_summary import Layer, summarize


def test_multiply_adds_of_lenet_equal_the_count_by_hand() -> None:
    summary = summarize(LeNet(), (1, 28, 28))
    by_hand = {
        "features.0": 20 * 24 * 24 * 1 * 5 * 5,
        "features.3": 50 * 8 * 8 * 20 * 5 * 5,
        "classifier.1": 800 * 500,
        "classifier.3": 500 * 10,
    }
    counted = {layer.name: layer.multiply_adds for layer in summary.layers}
    assert {name: counted[name] for name in by_hand} == by_hand
    assert counted["features"] == by_hand["features.0"] + by_hand["features.3"]
    assert summary.multiply_adds == sum(by_hand.values()) == 2_293_000
    assert (summary.parameters, summary.output) == (431_080, (10,))


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg16", "resnet18", "resnet152", "densenet121", "densenet201", "regnet_x_400mf"]
)
def test_multiply_adds_and_parameters_are_those_that_torchvision_documents(name: str) -> None:
    documented = get_model_weights(name).DEFAULT.meta
    summary = summarize(torchvision_network(name), (3, 224, 224))
    assert round(summary.multiply_adds / 1e9, 3) == documented["_ops"]
    assert summary.parameters == documented["num_params"]


def test_a_layer_has_kernel_stride_output_shapes_and_counts() -> None:
    layers = {layer.name: layer for layer in summarize(Branching(), (1, 9, 8)).layers}
    assert layers["stem"] == Layer("stem", "Conv2d", (3, 5), (2, 1), ((4, 5, 8),), 64, 4 * 5 * 8 * 15)
    # two groups: each output channel is connected to two of the four input channels
    assert layers["grouped"] == Layer("grouped", "Conv2d", (3, 3), (1, 1), ((4, 3, 6),), 72, 4 * 3 * 6 * 2 * 9)
    assert layers["activation"].outputs == ((4, 5, 8), (4, 3, 6))
    assert layers["spare"] == Layer("spare", "Linear", None, None, (), 56, 0)
