"""Pixels of the model's own size go to it as they are."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.models.manifest import InputSpec
from linnaeus.server.engine.decode import PreparedPixels, RawPixels, decode
from linnaeus.server.errors import InvalidImage


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
