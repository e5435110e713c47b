"""DenseNet-121 (Huang et al., 2017) with Inception blocks as dense layers, as in source document 000."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from linnaeus.models.architectures.googlenet_plain import Inception, InceptionWidths
from linnaeus.models.architectures.initialization import initialize_for_relu

FIRST_CHANNELS = 64
GROWTH_RATE = 32
BLOCKS = (6, 12, 24, 16)
# Each branch gives a quarter of the growth rate, and has four times as many channels before 3x3 and 5x5.
WIDTHS = InceptionWidths(one=8, reduce_three=32, three=8, reduce_five=32, five=8, pooled=8)


class DenseLayer(nn.Module):
    """Appends the output of an Inception block to its input."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.inception = Inception(inputs, WIDTHS)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, inputs, H, W] to [N, inputs + 32, H, W]."""
        return torch.cat([x, self.inception(x)], dim=1)


class InceptionDenseNet121(nn.Module):
    """Maps float32 [N, 3, H, W], H and W at least 32 and made for 224, to logits [N, classes].

    4,760,296 parameters with 1000 classes.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(3, FIRST_CHANNELS, 7, stride=2, padding=3, bias=False),
                norm0=nn.BatchNorm2d(FIRST_CHANNELS),
                relu0=nn.ReLU(),
                pool0=nn.MaxPool2d(3, 2, padding=1),
            )
        )
        channels = FIRST_CHANNELS
        for number, layers in enumerate(BLOCKS, start=1):
            self.features.add_module(f"denseblock{number}", _dense_block(channels, layers))
            channels += layers * GROWTH_RATE
            if number < len(BLOCKS):
                self.features.add_module(f"transition{number}", _transition(channels))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.features.add_module("relu5", nn.ReLU())
        self.pooling = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)
        initialize_for_relu(self)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 3, H, W] to logits [N, classes]."""
        pooled = self.pooling(self.features(images)).flatten(1)
        logits: Tensor = self.classifier(pooled)
        return logits


def _dense_block(inputs: int, layers: int) -> nn.Sequential:
    """Builds a block that maps [N, inputs, H, W] to [N, inputs + 32 * layers, H, W]."""
    return nn.Sequential(
        OrderedDict((f"denselayer{place + 1}", DenseLayer(inputs + place * GROWTH_RATE)) for place in range(layers))
    )


def _transition(inputs: int) -> nn.Sequential:
    """Builds a transition that maps [N, inputs, H, W] to [N, inputs // 2, H // 2, W // 2]."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inputs),
            relu=nn.ReLU(),
            conv=nn.Conv2d(inputs, inputs // 2, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )
