"""Small networks as zoo models."""

from collections.abc import Callable

import torchvision
from torch import nn

from linnaeus.models import labels
from linnaeus.models.manifest import InputSpec
from linnaeus.models.zoo_model import ZooModel

SMALL = InputSpec(channels=3, height=64, width=64, resize=64, interpolation="bilinear")


def row(build: Callable[[int], nn.Module], family: str = "Test") -> ZooModel:
    return ZooModel(
        name="own",
        family=family,
        year=2026,
        build=build,
        input=SMALL,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        labels=labels.digits,
    )


def resnet(classes: int) -> nn.Module:
    return torchvision.models.resnet18(num_classes=classes)


def densenet(classes: int) -> nn.Module:
    return torchvision.models.DenseNet(8, (2, 2), 16, num_classes=classes)


def googlenet(classes: int) -> nn.Module:
    return torchvision.models.googlenet(num_classes=classes, aux_logits=False, init_weights=False)
