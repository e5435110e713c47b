"""EfficientNet-Lite0: EfficientNet (Tan and Le, 2019) without squeeze-and-excitation, with ReLU6 instead of swish.

The published weights were trained in TensorFlow. With stride 2, its "same" padding adds the odd row and column of
zeros at the bottom and right; `SamePad` does the same.
"""

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


class EfficientNetLite0(nn.Module):
    """Maps float32 [N, 3, H, W] to logits [N, classes]; 4,652,008 parameters with 1000 classes."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_convolution(3, STEM_CHANNELS, 3, stride=2), nn.ReLU6(inplace=True)]
        channels = STEM_CHANNELS
        for stage in STAGES:
            for place in range(stage.blocks):
                stride = stage.stride if place == 0 else 1
                layers.append(InvertedResidual(channels, stage.channels, stage.kernel, stride, stage.expansion))
                channels = stage.channels
        layers += [*_convolution(channels, HEAD_CHANNELS, 1), nn.ReLU6(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(HEAD_CHANNELS, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 3, H, W] to logits [N, classes]."""
        pooled = torch.mean(self.features(images), dim=(2, 3))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits
