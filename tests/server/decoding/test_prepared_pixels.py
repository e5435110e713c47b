"""Pixels of the model's own size go to it as they are."""

from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.decode import decode, model_input_view
from linnaeus.server.errors import InvalidImage
from linnaeus.server.requests.picture import EncodedImage, PreparedPixels, RawPixels


def spec(channels: int, height: int, width: int) -> InputSpec:
    return InputSpec(channels, height, width, max(height, width), "bilinear")


@given(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9), st.randoms())
def test_no_pixel_is_changed_only_their_order(channels: int, height: int, width: int, random: object) -> None:
    data = random.randbytes(channels * height * width)  # type: ignore[attr-defined]
    pixels = decode(PreparedPixels(data, channels, height, width), spec(channels, height, width), max_pixels=1)
    assert pixels.shape == (height, width, channels)
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    assert pixels.transpose(2, 0, 1).tobytes() == data


def test_they_are_what_a_picture_of_that_size_becomes() -> None:
    data = numpy.random.default_rng(0).integers(0, 256, (6, 6, 3), numpy.uint8)
    prepared = PreparedPixels(data.transpose(2, 0, 1).tobytes(), 3, 6, 6)
    raw = RawPixels(data.tobytes(), 6, 6, 3)
    assert (decode(prepared, spec(3, 6, 6), 100) == decode(raw, spec(3, 6, 6), 100)).all()


@pytest.mark.parametrize(
    "pixels",
    [
        PreparedPixels(bytes(48), 3, 4, 4),
        PreparedPixels(bytes(16), 1, 2, 8),
        PreparedPixels(bytes(15), 1, 4, 4),
        PreparedPixels(bytes(17), 1, 4, 4),
    ],
)
def test_any_other_size_is_refused(pixels: PreparedPixels) -> None:
    with pytest.raises(InvalidImage, match=r"but the model takes \(1, 4, 4\)"):
        decode(pixels, spec(1, 4, 4), max_pixels=100)


@given(st.integers(1, 6), st.sampled_from([1, 3]), st.booleans(), st.randoms())
def test_pixels_that_go_to_the_model_as_they_are_are_those_that_decode_gives(
    side: int, channels: int, is_prepared: bool, random: Any
) -> None:
    data = random.randbytes(channels * side * side)
    image = PreparedPixels(data, channels, side, side) if is_prepared else RawPixels(data, side, side, channels)
    pixels = model_input_view(image, spec(channels, side, side))
    assert pixels is not None and numpy.array_equal(pixels, decode(image, spec(channels, side, side), 10**6))


@pytest.mark.parametrize(
    "image",
    [
        RawPixels(bytes(3 * 5), 3, 5, 1),  # is to be cut
        RawPixels(bytes(4 * 4 * 3), 4, 4, 3),  # has colours
        RawPixels(bytes(15), 4, 4, 1),  # lies about its size
        PreparedPixels(bytes(15), 1, 4, 4),
        PreparedPixels(bytes(16), 4, 4, 1),
        EncodedImage(bytes(16)),
    ],
)
def test_whatever_else_is_left_to_decode(image: Any) -> None:
    assert model_input_view(image, spec(1, 4, 4)) is None
    assert (
        model_input_view(RawPixels(bytes(16), 4, 4, 1), InputSpec(1, 4, 4, 6, "bilinear")) is None
    )  # is to grow first


def test_many_prepared_pixels_are_put_into_order_by_a_decoder() -> None:
    assert model_input_view(PreparedPixels(bytes(3 * 128 * 128), 3, 128, 128), spec(3, 128, 128)) is None
