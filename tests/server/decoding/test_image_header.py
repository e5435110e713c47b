"""Tests of `read_header` and `decode_work`: what a file claims, without an error and without much work."""

import io
import sys

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.server.decoding.image_files import PHOTO, exif, photograph, png_chunk, save

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.decode_work import decode_work, picture_work
from linnaeus.server.decoding.image_header import ImageHeader, read_header
from linnaeus.server.requests.picture import EncodedImage, RawPixels
from linnaeus.server.scheduling import DecodeWork

PICTURE = photograph(70, 50)
EXIF = exif(6)
FRAMES = {"save_all": True, "append_images": [photograph(70, 50).rotate(180)]}
HEADERS = {
    ("JPEG", "baseline"): save(PICTURE, "JPEG", exif=EXIF, icc_profile=b"p" * 200_000),
    ("JPEG", "progressive"): save(PICTURE, "JPEG", progressive=True),
    ("PNG", "plain"): save(PICTURE, "PNG"),
    ("GIF", "plain"): save(PICTURE, "GIF", **FRAMES),
    ("BMP", "plain"): save(PICTURE, "BMP"),
    ("WEBP", "lossy"): save(PICTURE, "WEBP"),
    ("WEBP", "lossless"): save(PICTURE, "WEBP", lossless=True),
    ("WEBP", "animated"): save(PICTURE, "WEBP", **FRAMES),
}
EXTENDED_WEBP = [
    ("lossy", save(PICTURE, "WEBP", exif=EXIF, icc_profile=b"profile")),
    ("lossy", save(PICTURE.convert("RGBA").rotate(45), "WEBP")),
    ("lossless", save(PICTURE, "WEBP", exif=EXIF, lossless=True)),
]


@pytest.mark.parametrize(("format", "coding"), HEADERS)
def test_the_header_tells_format_size_and_coding(format: str, coding: str) -> None:
    assert read_header(HEADERS[format, coding]) == ImageHeader(format, 70, 50, coding)


@pytest.mark.parametrize(("coding", "data"), EXTENDED_WEBP)
def test_the_coding_of_an_extended_webp_is_that_of_its_image(coding: str, data: bytes) -> None:
    assert read_header(data) == ImageHeader("WEBP", 70, 50, coding)


def test_an_interlaced_png_is_told_from_a_plain_one() -> None:
    data = bytearray(save(PICTURE, "PNG"))
    data[28] = 1
    assert read_header(bytes(data)) == ImageHeader("PNG", 70, 50, "interlaced")


def test_a_bmp_stored_from_the_top_has_a_height_and_not_a_depth() -> None:
    data = bytearray(save(PICTURE, "BMP"))
    data[22:26] = (-50).to_bytes(4, "little", signed=True)
    assert read_header(bytes(data)) == ImageHeader("BMP", 70, 50, "plain")


@pytest.mark.parametrize("data", [b"", b"\xff", b"BM", b"RIFF1234WEBPVP8X", b"text", b"\xff\xd8\xff\xda\0\x02"])
def test_a_file_without_a_readable_header_has_none(data: bytes) -> None:
    assert read_header(data) is None
    assert decode_work(data, PHOTO) == DecodeWork("unknown", len(data))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data(), start=st.sampled_from([*HEADERS.values()]))
def test_no_bytes_raise(data: st.DataObject, start: bytes) -> None:
    cut = start[: data.draw(st.integers(0, 120))]
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6)):
        cut = cut[:place] + bytes([value]) + cut[place + 1 :]
    assert decode_work(cut, PHOTO).pixels >= 0


HOSTILE = {
    "segments": b"\xff\xd8" + b"\xff\xe1\x00\x02" * 500_000,
    "fill bytes": b"\xff\xd8" + b"\xff" * 2_000_000,
    "long segments": b"\xff\xd8" + (b"\xff\xe1\xff\xff" + bytes(65_533)) * 200,
    "chunks": b"RIFF\0\0\0\0WEBPVP8X" + bytes([10, 0, 0, 0]) + bytes(10) + (b"JUNK" + bytes(4)) * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_work_to_read_a_header_is_bounded(name: str) -> None:
    lines = 0

    def count(frame: object, event: str, argument: object) -> object:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)  # type: ignore[arg-type]
    try:
        decode_work(HOSTILE[name], PHOTO)
    finally:
        sys.settrace(before)
    assert lines < 1000


@pytest.mark.parametrize("coding", ["baseline", "progressive"])
@pytest.mark.parametrize("size", [(64, 64), (512, 4000), (1023, 1024), (1024, 1031), (2048, 2100), (4096, 5000)])
@pytest.mark.parametrize("side", [32, 256])
def test_the_work_of_a_jpeg_names_the_fraction_at_which_pillow_decodes_it(
    coding: str, size: tuple[int, int], side: int
) -> None:
    spec = InputSpec(3, side, side, side, "bilinear")
    data = save(Image.fromarray(numpy.zeros(size[::-1], numpy.uint8)), "JPEG", progressive=coding == "progressive")
    image = Image.open(io.BytesIO(data))
    short = min(size)
    image.draft(None, (2 * int(side * size[0] / short), 2 * int(side * size[1] / short)))
    fraction = round(size[0] / image.size[0])
    assert decode_work(data, spec) == DecodeWork(f"JPEG {coding} 1/{fraction}", size[0] * size[1])


def test_the_work_of_other_formats_names_format_and_coding() -> None:
    kinds = {decode_work(data, PHOTO).kind for data in HEADERS.values()}
    assert kinds == {
        "JPEG baseline 1/1",
        "JPEG progressive 1/1",
        "PNG plain",
        "GIF plain",
        "BMP plain",
        "WEBP lossy",
        "WEBP lossless",
        "WEBP animated",
    }


def test_a_webp_of_a_few_bytes_states_its_many_pixels() -> None:
    body = b"\x2f" + (16_382 | 3_049 << 14).to_bytes(4, "little") + bytes(9)
    data = b"RIFF" + bytes(4) + b"WEBPVP8L" + len(body).to_bytes(4, "little") + body
    assert len(data) == 34
    assert decode_work(data, PHOTO) == DecodeWork("WEBP lossless", 16_383 * 3_050)


def test_a_png_chunk_before_the_header_chunk_is_not_taken_for_it() -> None:
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt", bytes(40)) + save(PICTURE, "PNG")[8:]
    assert read_header(data) is None


def test_a_picture_with_more_pixels_than_allowed_is_no_work_since_it_is_refused_before_it_is_decoded() -> None:
    image = EncodedImage(HEADERS["PNG", "plain"])
    assert picture_work(image, PHOTO, 70 * 50) == DecodeWork("PNG plain", 70 * 50)
    assert picture_work(image, PHOTO, 70 * 50 - 1) == DecodeWork("PNG plain", 0)


def test_raw_pixels_are_counted_whatever_shape_they_claim() -> None:
    assert picture_work(RawPixels(b"x" * 300, 10, 10, 3), PHOTO, 1000) == DecodeWork("pixels", 100)
    assert picture_work(RawPixels(b"x" * 300, -1, 2**40, 0), PHOTO, 1000).pixels == 300
