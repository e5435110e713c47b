"""torchvision's networks and the CIFAR DenseNets: what they compute, however they are run, and how they are built."""

import pytest
import torch
from torch import nn
from torchvision.models import DenseNet, googlenet

from linnaeus.models.architectures.densenet_cifar import DenseNetCifar, layers_per_block
from linnaeus.models.export.torchscript import to_torchscript
from linnaeus.models.pixel_classifier import PixelClassifier
from linnaeus.models.zoo_entries import cifar, torchvision

TORCHVISION = {row.name: row for row in (*torchvision.ENTRIES, *torchvision.HUGE_ENTRIES)}
CIFAR = {row.name: row for row in cifar.ENTRIES}


def test_any_number_of_classes_can_be_told_apart() -> None:
    for name, row in (TORCHVISION | CIFAR).items():
        with torch.device("meta"):
            logits = row.build(3).eval()(torch.zeros(1, 3, row.input.height, row.input.width))
        assert logits.shape == (1, 3), name


def test_googlenet_computes_what_torchvisions_pretrained_one_computes() -> None:
    torch.manual_seed(0)
    ours = TORCHVISION["googlenet"].build(5).eval()
    for module in ours.modules():
        if isinstance(module, nn.Conv2d):
            # as GoogLeNet's own initialisation leaves it, nothing of the picture reaches the logits
            nn.init.kaiming_normal_(module.weight)
    # what torchvision's builder gives where it downloads weights
    theirs = googlenet(weights=None, num_classes=5, aux_logits=False, init_weights=False, transform_input=True).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = theirs(images)
        assert torch.equal(ours(images), expected)
        theirs.transform_input = False
        assert not torch.allclose(theirs(images), expected, rtol=1e-3)


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "densenet_cifar", "densenet_bc_100_12"])
def test_the_torchscript_computes_what_the_network_computes(name: str) -> None:
    row = (TORCHVISION | CIFAR)[name]
    torch.manual_seed(0)
    size = min(row.input.height, 64)
    classifier = PixelClassifier(row.build(4), row.mean, row.std).eval()
    script = to_torchscript(classifier)
    for batch in (1, 2, 7):
        pixels = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
        with torch.inference_mode():
            expected, given = classifier(pixels), script(pixels)
        assert given.shape == (batch, 4)
        assert (given - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("depth", "growth", "compressed"), [(40, 12, False), (100, 12, True)])
def test_a_cifar_densenet_is_as_deep_as_it_says_on_maps_of_32_16_and_8(
    depth: int, growth: int, compressed: bool
) -> None:
    network = DenseNetCifar(depth, growth, compressed, 10).eval()
    weighted = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(weighted) == depth
    x = torch.zeros(1, 3, 32, 32)
    sizes = {}
    for name, stage in network.features.named_children():
        x = stage(x)
        sizes[name] = x.shape[-1]
    assert [sizes[f"block{number}"] for number in (1, 2, 3)] == [32, 16, 8]


def test_a_dense_layer_is_torchvisions_dense_layer() -> None:
    torch.manual_seed(0)
    theirs = DenseNet(growth_rate=4, block_config=(3,), num_init_features=8, num_classes=2).eval()
    ours = DenseNetCifar(22, 4, True, 2).eval()
    mine, block = ours.features.block1, theirs.features.denseblock1
    own = list(mine.state_dict())
    mine.load_state_dict(dict(zip(own, block.state_dict().values(), strict=True)))
    features = torch.randn(2, 8, 5, 5)
    with torch.inference_mode():
        assert torch.allclose(mine(features), block(features), atol=1e-6)


@pytest.mark.parametrize(
    ("depth", "compressed", "message"),
    [
        (41, False, "depth is 41, but a plain DenseNet of three blocks needs 4 more than a positive multiple of 3"),
        (103, True, "depth is 103, but a DenseNet-BC of three blocks needs 4 more than a positive multiple of 6"),
        (4, False, "depth is 4, but"),
    ],
)
def test_a_depth_that_cannot_be_shared_out_is_refused(depth: int, compressed: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layers_per_block(depth, compressed)


def test_labels_are_those_of_the_data() -> None:
    assert CIFAR["densenet_bc_100_12"].labels() == tuple("0123456789")
    for name in CIFAR.keys() - {"densenet_bc_100_12"}:
        assert CIFAR[name].labels()[3] == "cat" and CIFAR[name].classes == 10
