"""A network's stages, its first stages as a module, and its convolutions."""

import pytest
import torch
from tests.models.inspection.networks import Branching, image, torchvision_network
from torch import Tensor

from linnaeus.models.architectures.lenet import LeNet
from linnaeus.models.inspection.model_summary import summarize
from linnaeus.models.inspection.submodels import convolutions, first_stages, stage_names


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
