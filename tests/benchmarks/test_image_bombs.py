"""Images that are costly to decode are small, of their format, and within the server's limits."""

import io
import warnings

import pytest
from PIL import Image

from benchmarks.attack.image_bombs import BOMBS, bmp_of_runs, jpeg_of_scans, png, webp_of_34_bytes

MOST_PIXELS = 50_000_000
MOST_BYTES = 6_200_000  # 50 megapixels of 1 bit; the others are far smaller


def opened(data: bytes) -> Image.Image:
    """Reads the header; Pillow warns of images as large as these."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "webp" else ()) for name in BOMBS]
)
def test_each_bomb_is_small_of_its_format_and_within_the_pixel_limit(name: str) -> None:
    bombs = BOMBS[name]()
    assert len(bombs) > 1
    for bomb in bombs:
        with opened(bomb) as image:
            assert len(bomb) < MOST_BYTES
            assert image.format == name.upper()
            assert image.width * image.height <= MOST_PIXELS


def test_the_webp_of_one_colour_has_34_bytes() -> None:
    assert len(webp_of_34_bytes()) == 34


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 8), (17, 30)])
@pytest.mark.parametrize(("bits", "colour"), [(1, 0), (8, 0), (8, 2)])
def test_a_png_has_exactly_the_rows_that_its_header_announces(
    size: tuple[int, int], bits: int, colour: int, interlaced: bool
) -> None:
    with opened(png(*size, bits=bits, colour=colour, interlaced=interlaced)) as image:
        image.load()
        assert image.size == size
        assert image.convert("L").getextrema() == (0, 0)


def test_a_progressive_jpeg_has_as_many_scans_as_asked_and_decodes() -> None:
    file = jpeg_of_scans(64, 64, 50)
    assert file.count(b"\xff\xda") == 50
    with opened(file) as image:
        image.load()
        assert image.size == (64, 64)


def test_a_bmp_of_runs_decodes() -> None:
    with opened(bmp_of_runs((b"\x04\x01" + b"\0\0") * 4, side=4)) as image:
        assert set(image.convert("L").tobytes()) == {255}
