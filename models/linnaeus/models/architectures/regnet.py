"""RegNet: an AnyNet whose widths follow a quantized linear function (source document 003).

Radosavovic et al., "Designing Network Design Spaces", 2020, section 3.3, with its symbols:

    linear      u_j = w_0 + w_a j               for each block j = 0 … d - 1
    exponent    s_j = log(u_j / w_0) / log w_m
    quantized   w_j = w_0 w_m^round(s_j)        rounded to a multiple of 8

Blocks of equal width form a stage. The stage's width is then rounded to a multiple of the group width.
"""

import math
from dataclasses import dataclass
from itertools import groupby

from linnaeus.models.architectures.anynet import Stage

_WIDTH_STEP = 8
_MAX_DEPTH = 1000
_MAX_WIDTH = 100_000


@dataclass(frozen=True, slots=True)
class RegNetParameters:
    """The parameters of a RegNet; the bottleneck ratio is 1, the best one according to source document 003.

    Attributes:
        depth: number of blocks in all stages (d).
        initial_width: width of the first block, a multiple of 8 (w_0).
        slope: increase of the linear function per block (w_a).
        width_multiplier: ratio of the widths of consecutive stages (w_m).
        group_width: channels in each group of a convolution (g).

    Raises:
        ValueError: if a parameter is out of range.
    """

    depth: int
    initial_width: int
    slope: float
    width_multiplier: float
    group_width: int

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= _MAX_DEPTH:
            raise ValueError(f"depth is {self.depth}, but must be between 1 and {_MAX_DEPTH}")
        if self.initial_width < _WIDTH_STEP or self.initial_width % _WIDTH_STEP:
            raise ValueError(f"w0 is {self.initial_width}, but must be a positive multiple of {_WIDTH_STEP}")
        if not 0 <= self.slope < math.inf:
            raise ValueError(f"wa is {self.slope}, but must be 0 or more")
        if not 1 < self.width_multiplier < math.inf:
            raise ValueError(f"wm is {self.width_multiplier}, but must be more than 1")
        if self.group_width < 1:
            raise ValueError(f"group width is {self.group_width}, but must be at least 1")
        if max(self.linear_widths()[-1], self.initial_width) > _MAX_WIDTH:
            raise ValueError(f"the last block would have more than {_MAX_WIDTH:,} channels; choose a smaller wa")

    def linear_widths(self) -> tuple[float, ...]:
        """Returns the linear width of each block."""
        return tuple(self.initial_width + self.slope * block for block in range(self.depth))

    def quantized_widths(self) -> tuple[int, ...]:
        """Returns the quantized width of each block, a multiple of 8, before it is rounded to the group width."""
        return tuple(self._quantize(width) for width in self.linear_widths())

    def stages(self) -> tuple[Stage, ...]:
        """Returns the stages; the group width divides each width, and neighboring stages may have equal widths."""
        return tuple(
            _compatible_stage(len(list(blocks)), width, self.group_width)
            for width, blocks in groupby(self.quantized_widths())
        )

    def _quantize(self, width: float) -> int:
        exponent = round(math.log(width / self.initial_width) / math.log(self.width_multiplier))
        return round(self.initial_width * self.width_multiplier**exponent / _WIDTH_STEP) * _WIDTH_STEP


def _compatible_stage(depth: int, width: int, group_width: int) -> Stage:
    """Rounds the width to a multiple of the group width, down by at most 10 %; a group is at most the whole width."""
    group_width = min(group_width, width)
    groups = (2 * width + group_width) // (2 * group_width)
    if groups * group_width < 0.9 * width:
        groups += 1
    return Stage(depth, groups * group_width, group_width=group_width)
