"""Staging copies images of any size and memory layout into one buffer."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.runtime.runner import Pixels
from linnaeus.server.runtime.staging import stage

SMALL, LARGE = (5, 6, 3), (90, 80, 3)


def noise(shape: tuple[int, ...], seed: int) -> Pixels:
    return numpy.random.default_rng(seed).integers(0, 256, shape, numpy.uint8)


def image(shape: tuple[int, int, int], order: str, seed: int) -> Pixels:
    height, width, channels = shape
    if order == "channels first":
        return noise((channels, height, width), seed).transpose(1, 2, 0)
    # read-only, like the bytes of a message
    return numpy.frombuffer(noise(shape, seed).tobytes(), numpy.uint8).reshape(shape)


@given(
    shape=st.sampled_from([SMALL, LARGE]),
    orders=st.lists(st.sampled_from(["as it is", "channels first"]), min_size=1, max_size=4),
    spare=st.integers(0, 2),
)
def test_images_are_copied_into_the_first_rows_and_the_others_are_unchanged(
    shape: tuple[int, int, int], orders: list[str], spare: int
) -> None:
    images = [image(shape, order, seed) for seed, order in enumerate(orders)]
    rows = noise((len(images) + spare, *shape), 99)
    before = rows.copy()
    stage(images, rows)
    assert numpy.array_equal(rows[: len(images)], numpy.stack(images))
    assert numpy.array_equal(rows[len(images) :], before[len(images) :])


@pytest.mark.parametrize("shape", [SMALL, LARGE])
def test_more_images_than_rows_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError):
        stage([noise(shape, seed) for seed in range(3)], numpy.zeros((2, *shape), numpy.uint8))


@pytest.mark.parametrize("shape", [(6, 5, 3), (5, 7, 3)])
def test_an_image_of_another_shape_is_refused_even_with_the_same_number_of_bytes(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="broadcast"):
        stage([noise(shape, 0)], numpy.zeros((2, *SMALL), numpy.uint8))
