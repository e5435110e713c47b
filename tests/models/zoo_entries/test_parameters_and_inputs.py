"""The parameter counts and inputs of the entries."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights

from linnaeus.models.registry import find
from linnaeus.models.zoo_entries import cifar, torchvision

TORCHVISION = {model.name: model for model in (*torchvision.ENTRIES, *torchvision.HUGE_ENTRIES)}
CIFAR = {model.name: model for model in cifar.ENTRIES}


def parameters_of(build: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def convolution(inputs: int, outputs: int, kernel: int, bias: bool = False) -> int:
    return outputs * (inputs * kernel * kernel + bias)


def convolution_and_norm(inputs: int, outputs: int, kernel: int) -> int:
    """Returns the parameters of a convolution without bias and its batch norm."""
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
    """Counts table 1 of Szegedy et al., 2014, with the batch norm of torchvision, and 3x3 instead of 5x5."""
    total = convolution_and_norm(3, 64, 7) + convolution_and_norm(64, 64, 1) + convolution_and_norm(64, 192, 3)
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
        total += sum(convolution_and_norm(inputs, outputs, 1) for outputs in (one, reduce3, reduce5, pool))
        total += convolution_and_norm(reduce3, three, 3) + convolution_and_norm(reduce5, five, 3)
        inputs = one + three + five + pool
    return total + dense(1024, 1000)


def resnet(depths: Sequence[int], bottleneck: bool) -> int:
    total, inputs = convolution_and_norm(3, 64, 7), 64
    for width, depth in zip((64, 128, 256, 512), depths, strict=True):
        outputs = 4 * width if bottleneck else width
        if inputs != outputs:
            total += convolution_and_norm(inputs, outputs, 1)
        for _ in range(depth):
            if bottleneck:
                total += (
                    convolution_and_norm(inputs, width, 1)
                    + convolution_and_norm(width, width, 3)
                    + convolution_and_norm(width, outputs, 1)
                )
            else:
                total += convolution_and_norm(inputs, width, 3) + convolution_and_norm(width, width, 3)
            inputs = outputs
    return total + dense(inputs, 1000)


def dense_layers(inputs: int, layers: int, growth: int, bottleneck: bool) -> int:
    """Returns the parameters of dense layers; batch norm is applied to the input of each convolution."""
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
    return densenet(channels, growth, blocks, convolution_and_norm(3, channels, 7), 1000, compressed=True)


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
def test_torchvisions_networks_have_the_parameter_counts_of_the_papers(name: str, derived: int) -> None:
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
def test_the_default_weights_fit_the_network_and_define_the_input(name: str) -> None:
    model = TORCHVISION[name]
    assert model.download is not None
    weights = model.download()
    assert weights is get_model_weights(name).DEFAULT
    assert parameters_of(model.network) == weights.meta["num_params"]
    assert list(model.labels()) == weights.meta["categories"]
    preset = weights.transforms()
    assert [model.input.height] == [model.input.width] == preset.crop_size
    assert ([model.input.resize], model.input.interpolation) == (preset.resize_size, preset.interpolation.value)
    assert (list(model.mean), list(model.std)) == (preset.mean, preset.std)


def test_weights_for_other_input_sizes_get_them() -> None:
    assert TORCHVISION["resnet18"].input.resize == 256
    assert TORCHVISION["resnet50"].input.resize == 232
    huge = TORCHVISION["regnet_y_128gf"].input
    assert (huge.height, huge.resize, huge.interpolation) == (384, 384, "bicubic")


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
def test_the_cifar_densenets_have_the_number_of_parameters_of_the_paper(
    name: str, depth: int, growth: int, compressed: bool, millions: float
) -> None:
    parameters = parameters_of(CIFAR[name].network)
    assert parameters == cifar_densenet(depth, growth, compressed)
    assert round(parameters / 1e6, 1) == millions  # Huang et al., 2016, table 2


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # 20 * (25 + 1) + 50 * (20 * 25 + 1) + 500 * (800 + 1) + 10 * (500 + 1)
        ("lenet", 520 + 25_050 + 400_500 + 5_010),
        # the counts of the published networks
        ("efficientnet_lite0", 4_652_008),
        ("efficientnet_lite1", 5_416_680),
        ("efficientnet_lite2", 6_092_072),
    ],
)
def test_parameter_counts_are_exact(name: str, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in find(name).network().parameters()) == parameters
