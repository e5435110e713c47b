"""Networks for ImageNet that are written here."""

from collections.abc import Callable

from torch import nn

from linnaeus.models import labels
from linnaeus.models.architectures.alexnet_two_tower import AlexNetTwoTower
from linnaeus.models.architectures.efficientnet_lite import EfficientNetLite0
from linnaeus.models.architectures.googlenet_plain import GoogLeNetPlain
from linnaeus.models.architectures.inception_densenet import InceptionDenseNet121
from linnaeus.models.architectures.vgg16c import VGG16C
from linnaeus.models.architectures.zfnet import ZFNet
from linnaeus.models.manifest import InputSpec
from linnaeus.models.weights import bundled as weights
from linnaeus.models.zoo_model import ZooModel


def _documented(name: str, family: str, year: int, build: Callable[[int], nn.Module]) -> ZooModel:
    """A network of the source documents, for which nobody has published weights."""
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


ROWS = (
    ZooModel(
        name="efficientnet_lite0",
        family="EfficientNet-Lite",
        year=2020,
        build=EfficientNetLite0,
        input=InputSpec(channels=3, height=224, width=224, resize=224, interpolation="bicubic"),
        mean=(0.498, 0.498, 0.498),
        std=(0.502, 0.502, 0.502),
        labels=labels.imagenet,
        bundled=weights.packaged_efficientnet_lite0,
    ),
    _documented("alexnet_two_tower", "AlexNet", 2012, AlexNetTwoTower),
    _documented("zfnet", "ZFNet", 2013, ZFNet),
    _documented("vgg16c", "VGG", 2014, VGG16C),
    _documented("googlenet_plain", "GoogLeNet", 2014, GoogLeNetPlain),
    _documented("inception_densenet121", "DenseNet", 2024, InceptionDenseNet121),
)
