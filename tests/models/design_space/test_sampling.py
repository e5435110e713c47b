"""Each design space keeps its narrowing, and what is measured of it is repeatable, recorded and drawn."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.models.architectures.anynet import Stage
from linnaeus.models.design_space.sampling import (
    BOTTLENECK_RATIOS,
    GROUP_WIDTHS,
    MAX_DEPTH,
    MAX_WIDTH,
    STAGES,
    Space,
    sample_stages,
)

SEEDS = st.integers(0, 10**9)


def sample_many(space: Space) -> list[tuple[Stage, ...]]:
    random = Random(0)
    return [sample_stages(space, random) for _ in range(400)]


def rises(values: list[int]) -> bool:
    return values == sorted(values)


@pytest.mark.parametrize("space", Space)
@settings(deadline=None)  # a busy machine is no fault
@given(seed=SEEDS)
def test_every_network_of_a_space_keeps_its_narrowing_and_its_limits(space: Space, seed: int) -> None:
    stages = sample_stages(space, Random(seed))
    assert len(stages) == STAGES
    for stage in stages:
        assert 1 <= stage.depth <= MAX_DEPTH
        assert 8 <= stage.width <= MAX_WIDTH and stage.width % 8 == 0
        assert stage.bottleneck_ratio in BOTTLENECK_RATIOS and stage.group_width in GROUP_WIDTHS
    narrowings = {
        "B": len({stage.bottleneck_ratio for stage in stages}) == 1,
        "C": len({stage.group_width for stage in stages}) == 1,
        "D": rises([stage.width for stage in stages]),
        "E": rises([stage.depth for stage in stages]),
    }
    asked = "BCD" if space is Space.REGNET else "ABCDE"[1 : "ABCDE".index(space) + 1]
    assert all(narrowings[letter] for letter in asked)
    if space is Space.REGNET:
        assert {stage.bottleneck_ratio for stage in stages} == {1}


@pytest.mark.parametrize(
    ("space", "free"),
    [
        (Space.A, lambda stages: len({stage.bottleneck_ratio for stage in stages}) > 1),
        (Space.B, lambda stages: len({stage.group_width for stage in stages}) > 1),
        (Space.C, lambda stages: not rises([stage.width for stage in stages])),
        (Space.D, lambda stages: not rises([stage.depth for stage in stages])),
    ],
)
def test_what_a_space_leaves_free_is_free(space: Space, free: object) -> None:
    assert any(map(free, sample_many(space)))  # type: ignore[arg-type, call-overload]


@pytest.mark.parametrize("space", [space for space in Space if space is not Space.REGNET])
def test_every_value_of_a_space_is_drawn(space: Space) -> None:
    stages = [stage for network in sample_many(space) for stage in network]
    assert {stage.depth for stage in stages} == set(range(1, MAX_DEPTH + 1))
    assert {stage.width for stage in stages} == set(range(8, MAX_WIDTH + 1, 8))
    assert {stage.bottleneck_ratio for stage in stages} == set(BOTTLENECK_RATIOS)
    assert {stage.group_width for stage in stages} == set(GROUP_WIDTHS)


@settings(deadline=None)
@given(seed=SEEDS)
def test_one_seed_draws_the_same_networks_again(seed: int) -> None:
    for space in Space:
        assert sample_stages(space, Random(seed)) == sample_stages(space, Random(seed))
