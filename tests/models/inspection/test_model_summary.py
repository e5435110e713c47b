"""Taking networks apart: what their layers cost, their first stages, their convolutions."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from linnaeus.models.architectures.lenet import LeNet
from linnaeus.models.inspection.model_summary import Layer, summarize
from linnaeus.models.inspection.submodels import convolutions, first_stages, stage_names


def torchvision_network(name: str) -> nn.Module:
    if name.startswith("regnet"):  # reads numbers back from tensors while it is built
        return get_model(name, weights=None).to("meta").eval()
    with torch.device("meta"):
        return get_model(name, weights=None).eval()


def image(height: int = 28, channels: int = 1) -> Tensor:
    return torch.rand(2, channels, height, height, generator=torch.Generator().manual_seed(3))


class Branching(nn.Module):
    """Functional arithmetic between its stages, one layer used twice and one not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, (3, 5), stride=(2, 1), padding=(1, 2), groups=1)
        self.grouped = nn.Conv2d(4, 4, 3, groups=2, bias=False)
        self.activation = nn.ReLU()
        self.spare = nn.Linear(7, 7)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.activation(self.grouped(self.activation(self.stem(images)) + 1.0))
        return self.head(maps.mean((2, 3)))


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


def test_the_first_stages_compute_what_the_network_computes_on_its_way() -> None:
    network = LeNet().eval()
    part = first_stages(network, 3)
    assert stage_names(network)[:3] == ("features.0", "features.1", "features.2")
    assert torch.equal(part(image()), network.features[:3](image()))
    assert set(part.state_dict()) == {"features.0.weight", "features.0.bias"}
    assert torch.equal(first_stages(network, len(stage_names(network)))(image()), network(image()))


def test_what_happens_between_the_stages_belongs_to_them() -> None:
    network = Branching().eval()
    part = first_stages(network, 2)
    expected = network.grouped(torch.relu(network.stem(image())) + 1.0)
    assert torch.equal(part(image()), expected)


@pytest.mark.parametrize(
    ("name", "count", "last", "output"),
    [
        ("resnet18", 6, "layer2", (128, 28, 28)),
        ("densenet121", 5, "features.denseblock1", (256, 56, 56)),
        ("regnet_x_400mf", 3, "trunk_output.block2", (64, 28, 28)),
    ],
)
def test_a_stage_is_a_block_of_layers_where_the_network_has_blocks(
    name: str, count: int, last: str, output: tuple[int, ...]
) -> None:
    network = torchvision_network(name)
    assert stage_names(network)[count - 1] == last
    assert summarize(first_stages(network, count), (3, 224, 224)).output == output


def test_stages_that_are_not_there_are_refused() -> None:
    for count in (0, 8):
        with pytest.raises(ValueError, match=f"the network has 7 stages, so {count} of them cannot be taken"):
            first_stages(LeNet(), count)
    with pytest.raises(ValueError, match="stage 4, spare, is not run"):
        first_stages(Branching(), 4)


def test_a_forward_that_depends_on_its_pixels_is_refused_with_the_reason() -> None:
    class Moody(LeNet):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) if images.sum() > 0 else super().forward(-images)

    with pytest.raises(ValueError, match="torch.fx cannot take Moody apart"):
        first_stages(Moody(), 1)


def test_convolutions_come_in_order_with_their_full_names() -> None:
    network = torchvision_network("resnet18")
    found = convolutions(network)
    assert list(found)[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert len(found) == 20
    assert found["layer2.0.downsample.0"] is network.layer2[0].downsample[0]
