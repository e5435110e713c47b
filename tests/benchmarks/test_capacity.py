"""The computed capacity of several processes is bounded by cores and event loops, and never falls with more of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.front_ends.capacity import (
    CORES,
    ENGINE_LOOP,
    FRONT_END_LOOPS,
    ImageCost,
    best_split,
    capacity,
)

SECONDS = st.floats(1e-6, 1e-2)


@st.composite
def costs(draw: st.DrawFn) -> ImageCost:
    engine_loop, front_end_loop = draw(SECONDS), draw(SECONDS)
    return ImageCost(
        engine=engine_loop + draw(SECONDS),
        engine_loop=engine_loop,
        front_end=front_end_loop + draw(SECONDS),
        front_end_loop=front_end_loop,
        caller=draw(SECONDS),
    )


COUNTS = st.integers(1, 64)


@pytest.mark.parametrize(
    ("cores", "front_ends", "rate", "bound"),
    [
        (2, 1, 5_000, CORES),  # two cores, 400 µs an image
        (8, 1, 8_000, FRONT_END_LOOPS),  # one event loop, 125 µs an image
        (8, 2, 16_000, FRONT_END_LOOPS),
        (8, 3, 20_000, CORES),
        (16, 8, 25_000, ENGINE_LOOP),  # one event loop, 40 µs an image
    ],
)
def test_the_lowest_bound_holds_and_is_named(cores: int, front_ends: int, rate: int, bound: str) -> None:
    cost = ImageCost(engine=60e-6, engine_loop=40e-6, front_end=340e-6, front_end_loop=125e-6)
    found = capacity(cost, cores, front_ends)
    assert found.images_per_second == pytest.approx(rate)
    assert found.bound == bound


def test_the_load_generator_takes_its_part_of_the_cores() -> None:
    cost = ImageCost(engine=60e-6, engine_loop=40e-6, front_end=340e-6, front_end_loop=125e-6, caller=100e-6)
    assert capacity(cost, 2, 1).images_per_second == pytest.approx(4_000)


@given(costs(), COUNTS, COUNTS)
def test_more_cores_or_front_ends_never_serve_less(cost: ImageCost, cores: int, front_ends: int) -> None:
    rate = capacity(cost, cores, front_ends).images_per_second
    assert capacity(cost, cores + 1, front_ends).images_per_second >= rate
    assert capacity(cost, cores, front_ends + 1).images_per_second >= rate
    assert best_split(cost, cores + 1).images_per_second >= best_split(cost, cores).images_per_second * (1 - 1e-9)


@given(costs(), COUNTS, COUNTS, st.floats(1.0, 10.0))
def test_cheaper_work_never_serves_less(cost: ImageCost, cores: int, front_ends: int, factor: float) -> None:
    rate = capacity(cost, cores, front_ends).images_per_second
    for name in ("engine", "engine_loop", "front_end", "front_end_loop", "caller"):
        dearer = replace(cost, **{name: getattr(cost, name) * factor})
        assert capacity(dearer, cores, front_ends).images_per_second <= rate


@given(costs(), COUNTS)
def test_the_best_split_is_the_smallest_that_serves_as_much_as_any(cost: ImageCost, cores: int) -> None:
    best = best_split(cost, cores)
    rates = {count: capacity(cost, cores, count).images_per_second for count in range(1, best.front_ends + 65)}
    assert best.images_per_second == pytest.approx(max(rates.values()))
    if best.front_ends > 1:
        assert rates[best.front_ends - 1] < best.images_per_second


@given(costs(), COUNTS, COUNTS)
def test_no_more_processor_time_is_used_than_there_is(cost: ImageCost, cores: int, front_ends: int) -> None:
    rate = capacity(cost, cores, front_ends).images_per_second * (1 - 1e-9)
    assert rate * cost.total <= cores
    assert rate * cost.engine_loop <= 1
    assert rate * cost.front_end_loop <= front_ends
