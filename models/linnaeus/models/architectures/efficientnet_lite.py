"""EfficientNet-Lite: EfficientNet (Tan and Le, 2019) without squeeze-and-excitation, with ReLU6 instead of swish.

The published weights were trained in TensorFlow. With stride 2, its "same" padding adds the odd row and column of
zeros at the bottom and right; `SamePad` does the same.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Stage(NamedTuple):
    """A sequence of inverted-residual blocks; only the first block has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int

    def scaled(self, width: float, depth: float) -> "Stage":
        """Multiplies the channels, rounded to a multiple of 8, and the number of blocks, rounded up."""
        return self._replace(blocks=math.ceil(depth * self.blocks), channels=_round_to_eight(width * self.channels))


STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def _round_to_eight(channels: float) -> int:
    """Returns the nearest multiple of 8 that is at least 90 % of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _stages(width: float, depth: float) -> list[Stage]:
    """Returns Lite0's stages, scaled; the number of blocks of the first and the last one stays."""
    first, *middle, last = STAGES
    return [first.scaled(width, 1), *(stage.scaled(width, depth) for stage in middle), last.scaled(width, 1)]


class SamePad(nn.Module):
    """Zero padding such that the strided convolution after it gives ceil(size / stride) rows and columns."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, C, H + pad, W + pad]."""
        rows = self._padding(x.shape[2])
        columns = self._padding(x.shape[3])
        return functional.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])

    def _padding(self, size: int) -> int:
        steps = (size + self.stride - 1) // self.stride
        return max((steps - 1) * self.stride + self.kernel - size, 0)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Padding, convolution and batch norm; a list for the caller to extend a `Sequential` with."""
    padding = [SamePad(kernel, stride)] if stride > 1 else []
    own_padding = 0 if stride > 1 else kernel // 2
    return [
        *padding,
        nn.Conv2d(inputs, outputs, kernel, stride, own_padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
    ]


class InvertedResidual(nn.Module):
    """Expansion (1x1), depthwise convolution, projection (1x1); adds the input if the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        expanded = inputs * expansion
        expansion_layers = [*_convolution(inputs, expanded, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.body = nn.Sequential(
            *expansion_layers,
            *_convolution(expanded, expanded, kernel, stride, groups=expanded),
            nn.ReLU6(inplace=True),
            *_convolution(expanded, outputs, 1),
        )
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, inputs, H, W] to [N, outputs, ceil(H / stride), ceil(W / stride)]."""
        y: Tensor = self.body(x)
        return x + y if self.adds_input else y


class EfficientNetLite(nn.Module):
    """Maps float32 [N, 3, H, W] to logits [N, classes]; Lite0 has 4,652,008 parameters with 1000 classes.

    Args:
        classes: number of classes.
        width, depth: factors of Lite0's channels and blocks; the channels of stem and head stay.
        dropout: share of the pooled features that are dropped in training.
    """

    def __init__(self, classes: int = 1000, width: float = 1.0, depth: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_convolution(3, STEM_CHANNELS, 3, stride=2), nn.ReLU6(inplace=True)]
        channels = STEM_CHANNELS
        for stage in _stages(width, depth):
            for place in range(stage.blocks):
                stride = stage.stride if place == 0 else 1
                layers.append(InvertedResidual(channels, stage.channels, stage.kernel, stride, stage.expansion))
                channels = stage.channels
        layers += [*_convolution(channels, HEAD_CHANNELS, 1), nn.ReLU6(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(HEAD_CHANNELS, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 3, H, W] to logits [N, classes]."""
        pooled = torch.mean(self.features(images), dim=(2, 3))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits
