"""Taking networks apart: what their layers cost, their first stages, their convolutions."""

import pytest
from tests.models.inspection.networks import Branching, torchvision_network
from torchvision.models import get_model_weights

from linnaeus.models.architectures.lenet import LeNet
from linnaeus.models.inspection.model_summary import Layer, summarize


def test_multiply_adds_of_lenet_are_those_on_paper() -> None:
    anatomy = summarize(LeNet(), (1, 28, 28))
    on_paper = {
        "features.0": 20 * 24 * 24 * 1 * 5 * 5,
        "features.3": 50 * 8 * 8 * 20 * 5 * 5,
        "classifier.1": 800 * 500,
        "classifier.3": 500 * 10,
    }
    of = {layer.name: layer.multiply_adds for layer in anatomy.layers}
    assert {name: of[name] for name in on_paper} == on_paper
    assert of["features"] == on_paper["features.0"] + on_paper["features.3"]
    assert anatomy.multiply_adds == sum(on_paper.values()) == 2_293_000
    assert (anatomy.parameters, anatomy.output) == (431_080, (10,))


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg16", "resnet18", "resnet152", "densenet121", "densenet201", "regnet_x_400mf"]
)
def test_multiply_adds_and_parameters_are_those_that_torchvision_documents(name: str) -> None:
    documented = get_model_weights(name).DEFAULT.meta
    anatomy = summarize(torchvision_network(name), (3, 224, 224))
    assert round(anatomy.multiply_adds / 1e9, 3) == documented["_ops"]
    assert anatomy.parameters == documented["num_params"]


def test_a_layer_tells_its_window_its_outputs_and_its_cost() -> None:
    layers = {layer.name: layer for layer in summarize(Branching(), (1, 9, 8)).layers}
    assert layers["stem"] == Layer("stem", "Conv2d", (3, 5), (2, 1), ((4, 5, 8),), 64, 4 * 5 * 8 * 15)
    # two groups: each output channel sees two of the four input channels
    assert layers["grouped"] == Layer("grouped", "Conv2d", (3, 3), (1, 1), ((4, 3, 6),), 72, 4 * 3 * 6 * 2 * 9)
    assert layers["activation"].outputs == ((4, 5, 8), (4, 3, 6))
    assert layers["spare"] == Layer("spare", "Linear", None, None, (), 56, 0)
