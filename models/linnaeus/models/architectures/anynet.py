"""AnyNet (source document 003; Radosavovic et al., "Designing Network Design Spaces", 2020), and what a network costs.

An AnyNet is a stem, stages of equal residual bottleneck blocks, and a head. The stages are free; how they are
chosen (`regnet`, `linnaeus.models.design_space`) is not known here. The blocks are torchvision's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
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


@dataclass(frozen=True, slots=True)
class Cost:
    """What one picture costs; activations are the elements of all convolutions' outputs, as document 003 says."""

    parameters: int
    multiply_adds: int
    activations: int

    def __str__(self) -> str:
        """For people, as in "5.50 M parameters, 0.41 G multiply-adds, 3.2 M activations"."""
        return (
            f"{_with_unit(self.parameters)} parameters, {_with_unit(self.multiply_adds)} multiply-adds, "
            f"{_with_unit(self.activations)} activations"
        )


def measure_cost(network: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """Counts for one picture of `shape` (C, H, W); a network on the meta device is counted without being run."""
    device = next(network.parameters()).device
    outputs: list[int] = []

    def record_output(_: nn.Module, __: object, output: Tensor) -> None:
        outputs.append(output.numel())

    hooks = [m.register_forward_hook(record_output) for m in network.modules() if isinstance(m, nn.Conv2d)]
    training = network.training
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network.eval()(torch.zeros(1, *shape, device=device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    # The counter counts a multiplication and an addition as two.
    return Cost(parameters, cast(int, counter.get_total_flops()) // 2, sum(outputs))


def _with_unit(number: int) -> str:
    for size, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
