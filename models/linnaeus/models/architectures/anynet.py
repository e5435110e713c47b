"""AnyNet (source document 003; Radosavovic et al., "Designing Network Design Spaces", 2020).

An AnyNet is a stem, stages of identical residual bottleneck blocks, and a head. The caller chooses the stages, as
`regnet` and `linnaeus.models.design_space` do. The blocks are torchvision's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.ops import Conv2dNormActivation

STEM_WIDTH = 32


@dataclass(frozen=True, slots=True)
class Stage:
    """A sequence of identical blocks; the first block halves height and width.

    Attributes:
        depth: number of blocks.
        width: output channels of each block.
        bottleneck_ratio: width divided by the width inside a block; a ratio below 1 makes the block wider inside.
        group_width: channels in each group of the 3x3 convolution; must divide the inner width.
    """

    depth: int
    width: int
    bottleneck_ratio: float = 1.0
    group_width: int = 1

    def __post_init__(self) -> None:
        if min(self.depth, self.width, self.group_width) < 1 or not self.bottleneck_ratio > 0:
            raise ValueError(f"depth, width, bottleneck ratio and group width must be positive, but are {self}")
        if abs(self.width / self.bottleneck_ratio - self.inner_width) > 1e-6 or self.inner_width % self.group_width:
            raise ValueError(
                f"a width of {self.width} with a bottleneck ratio of {self.bottleneck_ratio:g} cannot be divided "
                f"into groups of {self.group_width} channels"
            )

    @property
    def inner_width(self) -> int:
        """Channels between the two 1x1 convolutions of a block."""
        return round(self.width / self.bottleneck_ratio)


def anynet(stages: Sequence[Stage], classes: int, channels: int = 3, se_ratio: float | None = None) -> nn.Module:
    """Builds a network that maps float32 [N, channels, H, W] to logits [N, classes].

    Args:
        stages: at least one stage. The stem and each stage halve height and width, rounding up.
        classes: number of logits.
        channels: input channels.
        se_ratio: squeeze-and-excitation channels of every block as a share of its input channels; None for no
            squeeze-and-excitation.

    Raises:
        ValueError: if `stages` is empty.
    """
    if not stages:
        raise ValueError("a network needs at least one stage")
    blocks = BlockParams(
        depths=[stage.depth for stage in stages],
        widths=[stage.width for stage in stages],
        group_widths=[stage.group_width for stage in stages],
        bottleneck_multipliers=[1 / stage.bottleneck_ratio for stage in stages],
        strides=[2] * len(stages),
        se_ratio=se_ratio,
    )
    network: nn.Module = RegNet(blocks, classes, STEM_WIDTH, stem_type=partial(_stem, channels))
    return network


def _stem(channels: int, _: int, width: int, norm: type[nn.Module], activation: type[nn.Module]) -> nn.Module:
    """Builds the stem for any number of input channels; torchvision's always takes 3."""
    stem: nn.Module = Conv2dNormActivation(channels, width, 3, 2, norm_layer=norm, activation_layer=activation)
    return stem
