"""The outputs of torchvision's networks and of the DenseNets for CIFAR."""

import pytest
import torch
from torch import nn
from torchvision.models import DenseNet, googlenet

from linnaeus.models.architectures.densenet_cifar import DenseNetCifar, layers_per_block
from linnaeus.models.export.torchscript import to_torchscript
from linnaeus.models.pixel_classifier import PixelClassifier
from linnaeus.models.zoo_entries import cifar, torchvision

TORCHVISION = {model.name: model for model in (*torchvision.ENTRIES, *torchvision.HUGE_ENTRIES)}
CIFAR = {model.name: model for model in cifar.ENTRIES}


@pytest.mark.release
def test_every_entry_can_be_built_for_any_number_of_classes() -> None:
    for name, model in (TORCHVISION | CIFAR).items():
        with torch.device("meta"):
            logits = model.build(3).eval()(torch.zeros(1, 3, model.input.height, model.input.width))
        assert logits.shape == (1, 3), name


def test_googlenet_computes_what_torchvisions_pretrained_model_does() -> None:
    torch.manual_seed(0)
    ours = TORCHVISION["googlenet"].build(5).eval()
    for module in ours.modules():
        if isinstance(module, nn.Conv2d):
            # with GoogLeNet's own initialization the logits hardly depend on the image
            nn.init.kaiming_normal_(module.weight)
    # what torchvision's builder returns when it downloads weights
    theirs = googlenet(weights=None, num_classes=5, aux_logits=False, init_weights=False, transform_input=True).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = theirs(images)
        assert torch.equal(ours(images), expected)
        theirs.transform_input = False
        assert not torch.allclose(theirs(images), expected, rtol=1e-3)


@pytest.mark.parametrize(
    "name", ["alexnet", "googlenet", "densenet_cifar", pytest.param("densenet_bc_100_12", marks=pytest.mark.slow)]
)
def test_the_torchscript_computes_what_the_network_computes(name: str) -> None:
    model = (TORCHVISION | CIFAR)[name]
    torch.manual_seed(0)
    size = min(model.input.height, 64)
    classifier = PixelClassifier(model.build(4), model.mean, model.std).eval()
    script = to_torchscript(classifier)
    for batch in (1, 2, 7):
        pixels = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
        with torch.inference_mode():
            expected, given = classifier(pixels), script(pixels)
        assert given.shape == (batch, 4)
        assert (given - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("depth", "growth", "compressed"), [(40, 12, False), (100, 12, True)])
def test_a_cifar_densenet_has_its_depth_and_blocks_at_32_16_and_8_pixels(
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


def test_a_dense_layer_computes_what_torchvisions_does() -> None:
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
def test_a_depth_that_three_equal_blocks_cannot_have_is_refused(depth: int, compressed: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layers_per_block(depth, compressed)


def test_entries_have_the_labels_of_their_data_set() -> None:
    assert CIFAR["densenet_bc_100_12"].labels() == tuple("0123456789")
    for name in CIFAR.keys() - {"densenet_bc_100_12"}:
        assert CIFAR[name].labels()[3] == "cat" and CIFAR[name].classes == 10
