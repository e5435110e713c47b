"""The design spaces, and the sampling of networks from them."""

import math
from collections.abc import Sequence
from random import Random

from linnaeus.models.architectures.anynet import Stage
from linnaeus.models.architectures.regnet import RegNetParameters
from linnaeus.models.design_space.spaces import Space

STAGES = 4
BOTTLENECK_RATIOS = (1, 2, 4)
GROUP_WIDTHS = (1, 2, 4, 8)
# The paper samples up to 16 blocks of up to 1024 channels per stage; these can be trained on two cores.
MAX_DEPTH = 4
MAX_WIDTH = 64
_WIDTH_STEP = 8


def sample_stages(space: Space, random: Random) -> tuple[Stage, ...]:
    """Samples the four stages of one network; depths and widths are log-uniform, as in the paper."""
    if space is Space.REGNET:
        return _sample_regnet(random)
    ratios = _choose_per_stage(random, BOTTLENECK_RATIOS, shared=space.includes_restriction(Space.B))
    groups = _choose_per_stage(random, GROUP_WIDTHS, shared=space.includes_restriction(Space.C))
    steps = [math.lcm(_WIDTH_STEP, ratio * group) for ratio, group in zip(ratios, groups, strict=True)]
    widths = [_log_uniform(random, MAX_WIDTH, step) for step in steps]
    depths = [_log_uniform(random, MAX_DEPTH) for _ in range(STAGES)]
    if space.includes_restriction(Space.D):
        # ratio and group width are the same in all stages from here on, so every width is valid in every stage
        widths.sort()
    if space.includes_restriction(Space.E):
        depths.sort()
    return tuple(map(Stage, depths, widths, map(float, ratios), groups))


def _sample_regnet(random: Random) -> tuple[Stage, ...]:
    """Samples parameters until they give four stages within the limits, as in the paper: one in several does."""
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
    """Draws a value for each stage."""
    return [random.choice(values)] * STAGES if shared else random.choices(values, k=STAGES)


def _log_uniform(random: Random, largest: int, step: int = 1) -> int:
    """Draws a multiple of `step` from `step` to `largest`, log-uniformly."""
    drawn = math.exp(random.uniform(math.log(step), math.log(largest + step)))
    return min(int(drawn) // step * step, largest // step * step)
