"""GoogLeNet (Szegedy et al., 2014) as in source document 000.

It has no batch norm, true 5x5 convolutions, global average pooling, a 1x1 convolution as classifier, and auxiliary
heads that are used in training only.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from linnaeus.models.architectures.initialization import initialize_for_relu


class InceptionWidths(NamedTuple):
    """Output channels of an Inception block's convolutions; `reduce_*` are the 1x1 convolutions before 3x3 and 5x5."""

    one: int
    reduce_three: int
    three: int
    reduce_five: int
    five: int
    pooled: int

    @property
    def total(self) -> int:
        """Channels of the four branches together."""
        return self.one + self.three + self.five + self.pooled


class Convolution(nn.Module):
    """A convolution with ReLU; keeps height and width at stride 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, inputs, H, W] to [N, outputs, ceil(H / stride), ceil(W / stride)]."""
        activations: Tensor = self.relu(self.conv(x))
        return activations


class Inception(nn.Module):
    """Four parallel branches: 1x1; 1x1 then 3x3; 1x1 then 5x5; 3x3 max pooling then 1x1."""

    def __init__(self, inputs: int, widths: InceptionWidths) -> None:
        super().__init__()
        self.branch1 = nn.Sequential(Convolution(inputs, widths.one, 1))
        self.branch2 = nn.Sequential(
            Convolution(inputs, widths.reduce_three, 1), Convolution(widths.reduce_three, widths.three, 3)
        )
        self.branch3 = nn.Sequential(
            Convolution(inputs, widths.reduce_five, 1), Convolution(widths.reduce_five, widths.five, 5)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), Convolution(inputs, widths.pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, inputs, H, W] to [N, widths.total, H, W], the branches concatenated in order."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class GoogLeNetPlain(nn.Module):
    """Maps float32 [N, 3, H, W], H and W at least 32 and made for 224, to logits [N, classes].

    6,998,552 parameters with 1000 classes; the auxiliary heads have 21,946,320 more, all named `aux1.*` and `aux2.*`.

    Invariants:
        - Without heads, in evaluation mode or as TorchScript, `forward` returns the logits alone.
        - With heads in training mode, it returns three tensors [N, classes]: the logits, those of `aux1` (after
          inception4a) and those of `aux2` (after inception4d). The heads need H and W of at least 65.
    """

    def __init__(self, classes: int = 1000, aux_heads: bool = False) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            OrderedDict(
                conv1=Convolution(3, 64, 7, 2),
                maxpool1=nn.MaxPool2d(3, 2, padding=1),
                conv2=Convolution(64, 64, 1),
                conv3=Convolution(64, 192, 3),
                maxpool2=nn.MaxPool2d(3, 2, padding=1),
                inception3a=Inception(192, InceptionWidths(64, 96, 128, 16, 32, 32)),
                inception3b=Inception(256, InceptionWidths(128, 128, 192, 32, 96, 64)),
                maxpool3=nn.MaxPool2d(3, 2, padding=1),
                inception4a=Inception(480, InceptionWidths(192, 96, 208, 16, 48, 64)),
            )
        )
        self.stage2 = nn.Sequential(
            OrderedDict(
                inception4b=Inception(512, InceptionWidths(160, 112, 224, 24, 64, 64)),
                inception4c=Inception(512, InceptionWidths(128, 128, 256, 24, 64, 64)),
                inception4d=Inception(512, InceptionWidths(112, 144, 288, 32, 64, 64)),
            )
        )
        self.stage3 = nn.Sequential(
            OrderedDict(
                inception4e=Inception(528, InceptionWidths(256, 160, 320, 32, 128, 128)),
                maxpool4=nn.MaxPool2d(3, 2, padding=1),
                inception5a=Inception(832, InceptionWidths(256, 160, 320, 32, 128, 128)),
                inception5b=Inception(832, InceptionWidths(384, 192, 384, 48, 128, 128)),
                avgpool=nn.AdaptiveAvgPool2d(1),
            )
        )
        self.classifier = nn.Conv2d(1024, classes, 1)
        self.aux1 = _auxiliary_head(512, classes) if aux_heads else None
        self.aux2 = _auxiliary_head(528, classes) if aux_heads else None
        initialize_for_relu(self)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 3, H, W] to logits [N, classes]; with heads in training mode, to a tuple of three."""
        after_4a = self.stage1(images)
        after_4d = self.stage2(after_4a)
        # flatten(1) and not squeeze(): the batch dimension may be 1 as well and must stay.
        logits: Tensor = self.classifier(self.stage3(after_4d)).flatten(1)
        if not torch.jit.is_scripting() and self.training and self.aux1 is not None and self.aux2 is not None:
            # TorchScript requires one return type; it skips this branch.
            return logits, self.aux1(after_4a), self.aux2(after_4d)  # type: ignore[return-value]
        return logits


def _auxiliary_head(inputs: int, classes: int) -> nn.Sequential:
    """Builds an auxiliary classifier: [N, inputs, H, W] to logits [N, classes]."""
    return nn.Sequential(
        nn.MaxPool2d(5, 3),
        nn.Conv2d(inputs, 1024, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(1024 * 2 * 2, 2048),
        nn.Dropout(0.4),
        nn.ReLU(),
        nn.Linear(2048, classes),
    )
