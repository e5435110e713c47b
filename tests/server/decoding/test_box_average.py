"""Tests of `shrink`: the pixels of Pillow's own resize of the whole converted image, without copying all of it."""

import numpy
import pytest
from PIL import Image
from tests.server.decoding.image_files import noise, photograph

from linnaeus.server.decoding import box_average
from linnaeus.server.decoding.box_average import REDUCING_GAP, shrink
from linnaeus.server.decoding.colour import convert_colour


def modes() -> list[Image.Image]:
    rgba = Image.fromarray(noise(700, 900, 4))
    keyed = photograph(900, 700).quantize(20)
    keyed.info["transparency"] = 3
    return [rgba, rgba.convert("RGB"), rgba.convert("LA"), rgba.convert("L"), rgba.convert("1"), keyed]


@pytest.mark.parametrize("image", modes(), ids=lambda image: image.mode)
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("box", "size"),
    [((0, 0, 900, 700), (9, 7)), ((100.3, 50.7, 800.5, 600.1), (30, 40)), ((410, 300, 440, 660), (28, 28))],
)
def test_the_pixels_are_those_of_pillows_resize_of_the_whole(
    image: Image.Image,
    mode: str,
    interpolation: str,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(box_average, "_STRIP_PIXELS", 20_000)  # many strips
    filter = Image.Resampling[interpolation.upper()]
    expected = convert_colour(image, mode).resize(size, filter, box=box, reducing_gap=REDUCING_GAP)
    small, place = shrink(image, mode, box, size, interpolation)
    actual = small.resize(size, filter, box=place)
    assert numpy.abs(numpy.subtract(actual, expected, dtype=numpy.int16)).max() <= 1
    assert small.width <= 6 * size[0] + 30 and small.height <= 6 * size[1] + 30
