"""Design spaces: small networks drawn from them, trained briefly, and judged together (source document 003).

Radosavovic et al., "Designing Network Design Spaces", 2020, judge a space by the empirical distribution function of
its networks' errors. Here the networks are small, and the data is MNIST. Drawing pictures of it is another room's.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from random import Random

from linnaeus.models.architectures.anynet import Stage
from linnaeus.models.architectures.regnet import RegNetParameters

STAGES = 4
BOTTLENECK_RATIOS = (1, 2, 4)
GROUP_WIDTHS = (1, 2, 4, 8)
# The paper draws up to 16 blocks of up to 1024 channels a stage; a two-core machine draws these.
MAX_DEPTH = 4
MAX_WIDTH = 64
_WIDTH_STEP = 8


class Space(StrEnum):
    """What is narrowed from one space to the next; each keeps the restrictions of the one before it."""

    A = "A"
    """Depth, width, bottleneck ratio and group width are free in each of the four stages."""
    B = "B"
    """All stages share one bottleneck ratio."""
    C = "C"
    """All stages share one group width."""
    D = "D"
    """Widths never decrease from stage to stage."""
    E = "E"
    """Depths never decrease from stage to stage."""
    REGNET = "regnet"
    """Widths follow RegNet's quantised line, the bottleneck ratio is 1, and stages share one group width."""

    def includes_restriction(self, restriction: "Space") -> bool:
        """Whether the networks of this space A to E keep that restriction as well."""
        return self >= restriction


def sample_stages(space: Space, random: Random) -> tuple[Stage, ...]:
    """Draws the four stages of one network; sizes are drawn log-uniformly, as in the paper."""
    if space is Space.REGNET:
        return _sample_regnet(random)
    ratios = _choose_per_stage(random, BOTTLENECK_RATIOS, shared=space.includes_restriction(Space.B))
    groups = _choose_per_stage(random, GROUP_WIDTHS, shared=space.includes_restriction(Space.C))
    steps = [math.lcm(_WIDTH_STEP, ratio * group) for ratio, group in zip(ratios, groups, strict=True)]
    widths = [_log_uniform(random, MAX_WIDTH, step) for step in steps]
    depths = [_log_uniform(random, MAX_DEPTH) for _ in range(STAGES)]
    if space.includes_restriction(Space.D):
        # ratio and group are shared by now, so that any stage may have any of the widths
        widths.sort()
    if space.includes_restriction(Space.E):
        depths.sort()
    return tuple(map(Stage, depths, widths, map(float, ratios), groups))


def _sample_regnet(random: Random) -> tuple[Stage, ...]:
    """Draws parameters until they make four stages within the limits, as the paper does; one in several does."""
    while True:
        parameters = RegNetParameters(
            depth=random.randint(STAGES, STAGES * MAX_DEPTH),
            initial_width=_log_uniform(random, MAX_WIDTH // 2, _WIDTH_STEP),
            slope=math.exp(random.uniform(0, math.log(MAX_WIDTH))),
            width_multiplier=random.uniform(1.5, 3),
            group_width=random.choice(GROUP_WIDTHS),
        )
        stages = parameters.stages()
        if len(stages) == STAGES and all(s.depth <= MAX_DEPTH and s.width <= MAX_WIDTH for s in stages):
            return stages


def _choose_per_stage(random: Random, values: Sequence[int], shared: bool) -> list[int]:
    """One of the values for each stage."""
    return [random.choice(values)] * STAGES if shared else random.choices(values, k=STAGES)


def _log_uniform(random: Random, largest: int, step: int = 1) -> int:
    """A multiple of `step` from `step` to `largest`, small ones more often."""
    drawn = math.exp(random.uniform(math.log(step), math.log(largest + step)))
    return min(int(drawn) // step * step, largest // step * step)
