"""torchvision's networks and the CIFAR DenseNets: exact sizes, the right input, and one answer however they are run."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn
from torchvision.models import DenseNet, get_model_weights, googlenet

from linnaeus.models.architectures.densenet_cifar import DenseNetCifar, layers_in_a_block
from linnaeus.models.rows import cifar, torchvision
from linnaeus.models.torchscript import PixelClassifier, to_torchscript

TORCHVISION = {row.name: row for row in (*torchvision.ROWS, *torchvision.HUGE_ROWS)}
CIFAR = {row.name: row for row in cifar.ROWS}


def parameters_of(build: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def convolution(inputs: int, outputs: int, kernel: int, bias: bool = False) -> int:
    return outputs * (inputs * kernel * kernel + bias)


def normalised(inputs: int, outputs: int, kernel: int) -> int:
    """A convolution without bias, and its batch norm's two numbers a channel."""
    return convolution(inputs, outputs, kernel) + 2 * outputs


def dense(*sizes: int) -> int:
    return sum((inputs + 1) * outputs for inputs, outputs in zip(sizes, sizes[1:], strict=False))


def alexnet() -> int:
    channels = zip((3, 64, 192, 384, 256), (64, 192, 384, 256, 256), (11, 5, 3, 3, 3), strict=True)
    return sum(convolution(i, o, k, bias=True) for i, o, k in channels) + dense(256 * 6 * 6, 4096, 4096, 1000)


def vgg(convolutions: Sequence[int], batch_norm: bool = False) -> int:
    widths = [w for w, n in zip((64, 128, 256, 512, 512), convolutions, strict=True) for _ in range(n)]
    body = sum(convolution(i, o, 3, bias=True) for i, o in zip([3, *widths], widths, strict=False))
    return body + 2 * sum(widths) * batch_norm + dense(512 * 7 * 7, 4096, 4096, 1000)


def google() -> int:
    """Szegedy et al., 2014, table 1; torchvision has batch norm, and 3x3 where the paper has 5x5."""
    total = normalised(3, 64, 7) + normalised(64, 64, 1) + normalised(64, 192, 3)
    inputs = 192
    for one, reduce3, three, reduce5, five, pool in (
        (64, 96, 128, 16, 32, 32),
        (128, 128, 192, 32, 96, 64),
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
        (256, 160, 320, 32, 128, 128),
        (384, 192, 384, 48, 128, 128),
    ):
        total += sum(normalised(inputs, outputs, 1) for outputs in (one, reduce3, reduce5, pool))
        total += normalised(reduce3, three, 3) + normalised(reduce5, five, 3)
        inputs = one + three + five + pool
    return total + dense(1024, 1000)


def resnet(depths: Sequence[int], bottleneck: bool) -> int:
    total, inputs = normalised(3, 64, 7), 64
    for width, depth in zip((64, 128, 256, 512), depths, strict=True):
        outputs = 4 * width if bottleneck else width
        if inputs != outputs:
            total += normalised(inputs, outputs, 1)
        for _ in range(depth):
            if bottleneck:
                total += normalised(inputs, width, 1) + normalised(width, width, 3) + normalised(width, outputs, 1)
            else:
                total += normalised(inputs, width, 3) + normalised(width, width, 3)
            inputs = outputs
    return total + dense(inputs, 1000)


def dense_layers(inputs: int, layers: int, growth: int, bottleneck: bool) -> int:
    """Batch norm comes first here, over what goes into a convolution."""
    total = 0
    for channels in range(inputs, inputs + layers * growth, growth):
        if bottleneck:
            total += 2 * channels + convolution(channels, 4 * growth, 1)
            total += 2 * 4 * growth + convolution(4 * growth, growth, 3)
        else:
            total += 2 * channels + convolution(channels, growth, 3)
    return total


def densenet(channels: int, growth: int, blocks: Sequence[int], stem: int, classes: int, compressed: bool) -> int:
    total = stem
    for number, layers in enumerate(blocks, 1):
        total += dense_layers(channels, layers, growth, compressed)
        channels += layers * growth
        if number < len(blocks):
            outputs = channels // 2 if compressed else channels
            total += 2 * channels + convolution(channels, outputs, 1)
            channels = outputs
    return total + 2 * channels + dense(channels, classes)


def imagenet_densenet(channels: int, growth: int, blocks: Sequence[int]) -> int:
    return densenet(channels, growth, blocks, normalised(3, channels, 7), 1000, compressed=True)


def cifar_densenet(depth: int, growth: int, compressed: bool) -> int:
    channels = 2 * growth if compressed else 16
    layers = (depth - 4) // (6 if compressed else 3)
    return densenet(channels, growth, [layers] * 3, convolution(3, channels, 3), 10, compressed)


@pytest.mark.parametrize(
    ("name", "derived"),
    [
        ("alexnet", alexnet()),
        ("vgg16", vgg((2, 2, 3, 3, 3))),
        ("vgg19", vgg((2, 2, 4, 4, 4))),
        ("vgg16_bn", vgg((2, 2, 3, 3, 3), batch_norm=True)),
        ("googlenet", google()),
        ("resnet18", resnet((2, 2, 2, 2), bottleneck=False)),
        ("resnet34", resnet((3, 4, 6, 3), bottleneck=False)),
        ("resnet50", resnet((3, 4, 6, 3), bottleneck=True)),
        ("resnet101", resnet((3, 4, 23, 3), bottleneck=True)),
        ("resnet152", resnet((3, 8, 36, 3), bottleneck=True)),
        ("densenet121", imagenet_densenet(64, 32, (6, 12, 24, 16))),
        ("densenet161", imagenet_densenet(96, 48, (6, 12, 36, 24))),
        ("densenet169", imagenet_densenet(64, 32, (6, 12, 32, 32))),
        ("densenet201", imagenet_densenet(64, 32, (6, 12, 48, 32))),
    ],
)
def test_torchvisions_networks_have_as_many_parameters_as_their_papers_tables_give(name: str, derived: int) -> None:
    assert parameters_of(TORCHVISION[name].network) == derived


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("densenet121", 7_978_856),
        ("densenet161", 28_681_000),
        ("densenet169", 14_149_480),
        ("densenet201", 20_013_928),
    ],
)
def test_the_densenets_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    assert parameters_of(TORCHVISION[name].network) == parameters


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_default_weights_fit_the_network_and_the_input_is_the_one_they_were_made_for(name: str) -> None:
    row = TORCHVISION[name]
    assert row.download is not None
    weights = row.download()
    assert weights is get_model_weights(name).DEFAULT
    assert parameters_of(row.network) == weights.meta["num_params"]
    assert list(row.labels()) == weights.meta["categories"]
    preset = weights.transforms()
    assert [row.input.height] == [row.input.width] == preset.crop_size
    assert ([row.input.resize], row.input.interpolation) == (preset.resize_size, preset.interpolation.value)
    assert (list(row.mean), list(row.std)) == (preset.mean, preset.std)


def test_weights_that_want_another_size_get_it() -> None:
    assert TORCHVISION["resnet18"].input.resize == 256
    assert TORCHVISION["resnet50"].input.resize == 232
    huge = TORCHVISION["regnet_y_128gf"].input
    assert (huge.height, huge.resize, huge.interpolation) == (384, 384, "bicubic")


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


@pytest.mark.parametrize(
    ("name", "depth", "growth", "compressed", "millions"),
    [
        ("densenet_cifar", 40, 12, False, 1.0),
        ("densenet_100_12", 100, 12, False, 7.0),
        ("densenet_100_24", 100, 24, False, 27.2),
        ("densenet_bc_100_12", 100, 12, True, 0.8),
        ("densenet_bc_250_24", 250, 24, True, 15.3),
        ("densenet_bc_190_40", 190, 40, True, 25.6),
    ],
)
def test_the_cifar_densenets_have_the_papers_size(
    name: str, depth: int, growth: int, compressed: bool, millions: float
) -> None:
    parameters = parameters_of(CIFAR[name].network)
    assert parameters == cifar_densenet(depth, growth, compressed)
    assert round(parameters / 1e6, 1) == millions  # Huang et al., 2016, table 2


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
        layers_in_a_block(depth, compressed)


def test_labels_are_those_of_the_data() -> None:
    assert CIFAR["densenet_bc_100_12"].labels() == tuple("0123456789")
    for name in CIFAR.keys() - {"densenet_bc_100_12"}:
        assert CIFAR[name].labels()[3] == "cat" and CIFAR[name].classes == 10
