"""DenseNets for 32x32 images."""

from collections.abc import Callable
from functools import partial

from torch import nn

from linnaeus.models import labels
from linnaeus.models.architectures.densenet_cifar import DenseNetCifar
from linnaeus.models.manifest import InputSpec
from linnaeus.models.zoo_model import ZooModel

_INPUT = InputSpec(channels=3, height=32, width=32, resize=32, interpolation="bilinear")
# Mean and standard deviation of the training pixels: per channel of CIFAR-10, and MNIST's single channel repeated.
_CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_MNIST = ((0.1307,) * 3, (0.3081,) * 3)


def _entry(
    name: str,
    depth: int,
    growth_rate: int,
    compressed: bool = False,
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = _CIFAR10,
    class_labels: Callable[[], tuple[str, ...]] = labels.cifar10,
) -> ZooModel:
    return ZooModel(
        name=name,
        family="DenseNet-BC" if compressed else "DenseNet",
        year=2016,
        build=partial(_build, depth, growth_rate, compressed),
        input=_INPUT,
        mean=normalization[0],
        std=normalization[1],
        labels=class_labels,
    )


def _build(depth: int, growth_rate: int, compressed: bool, classes: int) -> nn.Module:
    return DenseNetCifar(depth, growth_rate, compressed, classes)


ENTRIES = (
    _entry("densenet_cifar", 40, 12),
    _entry("densenet_100_12", 100, 12),
    _entry("densenet_100_24", 100, 24),
    # Trained by `linnaeus-zoo train` on MNIST's digits, resized to 32x32 and repeated in three channels.
    _entry("densenet_bc_100_12", 100, 12, compressed=True, normalization=_MNIST, class_labels=labels.digits),
    _entry("densenet_bc_250_24", 250, 24, compressed=True),
    _entry("densenet_bc_190_40", 190, 40, compressed=True),
)
