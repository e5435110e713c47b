"""AnyNet (source document 003; Radosavovic et al., "Designing Network Design Spaces", 2020), and what a network costs.

An AnyNet is a stem, stages of equal residual bottleneck blocks, and a head. The stages are free; how they are
chosen (`regnet`, `linnaeus.models.design_space`) is not known here. The blocks are torchvision's.
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
    """A run of equal blocks; the first of them halves height and width.

    Attributes:
        depth: how many blocks.
        width: channels that a block gives.
        bottleneck_ratio: how many times narrower a block is inside than outside; less than 1 makes it wider inside.
        group_width: channels in each group of the 3x3 convolution; divides the inner width.
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
        """Channels between a block's two 1x1 convolutions."""
        return round(self.width / self.bottleneck_ratio)


def anynet(stages: Sequence[Stage], classes: int, channels: int = 3, se_ratio: float | None = None) -> nn.Module:
    """Builds a network of these stages; it maps float32 [N, channels, H, W] to logits [N, classes].

    Args:
        stages: at least one; stem and stages halve height and width once each, rounding up.
        classes: how many logits.
        channels: of the input.
        se_ratio: squeeze-and-excitation in every block, as a share of the block's input channels; None for none.

    Raises:
        ValueError: there is no stage.
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
    """The stem for any number of input channels, where torchvision always says 3."""
    stem: nn.Module = Conv2dNormActivation(channels, width, 3, 2, norm_layer=norm, activation_layer=activation)
    return stem
