"""Tests of `decode`: images that are refused."""

import random
import struct
import tracemalloc
import warnings
from collections.abc import Callable

import numpy
import pytest
from PIL import Image
from tests.server.decoding.image_files import MAX_PIXELS, SMALL, noise, photograph, png, refusal, run, save

from linnaeus.server.decoding.decode import decode
from linnaeus.server.decoding.jpeg_container import MAX_SCANS
from linnaeus.server.errors import InvalidImage
from linnaeus.server.requests.picture import RawPixels


def test_data_that_is_no_image_is_refused_in_one_sentence() -> None:
    assert "empty" in str(refusal(b""))
    assert "send a JPEG, PNG, GIF, WebP or BMP file" in str(refusal(b"Dear server, what is this?"))
    assert "send a JPEG, PNG, GIF, WebP or BMP file" in str(refusal(random.Random(1).randbytes(5000)))
    assert "send a JPEG, PNG, GIF, WebP or BMP file" in str(refusal(save(photograph(30, 30), "TIFF")))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_file_cut_short_is_refused_wherever_it_is_cut(format: str) -> None:
    data = save(Image.fromarray(noise(60, 60, 3)), format)
    for share in (0.02, 0.1, 0.3, 0.6, 0.9):
        assert "send" in str(refusal(data[: int(len(data) * share)]))


def oversized_gif() -> bytes:
    """Returns a GIF of one pixel with a huge frame that is to be restored to the background."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    wipe = b"!\xf9\x04" + bytes([2 << 2, 0, 0, 0, 0])
    return screen + wipe + b"," + struct.pack("<HHHHBB", 0, 0, 65535, 65535, 0, 8)


def oversized_webp() -> bytes:
    frame = save(photograph(16, 16), "WEBP")[12:]
    body = b"WEBPVP8X" + struct.pack("<IB3x", 10, 0) + b"\xff\x3f\x00" * 2 + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def oversized_jpeg() -> bytes:
    data = bytearray(save(photograph(16, 16), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", 65000, 65000)
    return bytes(data)


def oversized_bmp() -> bytes:
    data = bytearray(save(photograph(16, 16), "BMP"))
    data[18:26] = struct.pack("<ii", 100_000, 100_000)
    return bytes(data)


@pytest.mark.parametrize(
    "make",
    [lambda: png(100_000, 100_000, 8, 2, b"\0" * 99), oversized_gif, oversized_webp, oversized_jpeg, oversized_bmp],
    ids=["png", "gif", "webp", "jpeg", "bmp"],
)
def test_a_huge_declared_size_is_refused_without_allocating_memory(make: Callable[[], bytes]) -> None:
    data = make()
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    assert f"at most {MAX_PIXELS} are allowed" in str(refusal(data))
    python_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert python_bytes < 1_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB, or bytes on macOS


def test_the_pixel_limit_is_the_largest_size_allowed() -> None:
    data = save(photograph(40, 30), "PNG")
    assert run(data, max_pixels=1200).shape == (24, 24, 3)
    assert "40 x 30 = 1200 pixels" in str(refusal(data, max_pixels=1199))


def test_a_limit_above_pillows_own_causes_no_warning() -> None:
    data = save(Image.new("1", (10_000, 9_000)), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(data, max_pixels=100_000_000).shape == (24, 24, 3)


def test_a_jpeg_with_too_many_scans_is_refused() -> None:
    data = save(photograph(64, 64), "JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    assert "scans" in str(refusal(data[:-2] + last_scan * MAX_SCANS + b"\xff\xd9"))


def test_data_after_a_jpeg_does_not_count_as_scans() -> None:
    data = save(photograph(64, 64), "JPEG")
    assert numpy.array_equal(run(data + b"\0\2" + b"\xff\xda\0\2" * 500), run(data))


def test_a_run_length_compressed_bmp_is_refused() -> None:
    data = bytearray(save(Image.fromarray(noise(8, 8)).quantize(4), "BMP"))
    data[30] = 1
    assert "run-length" in str(refusal(bytes(data)))


def pixels_refusal(data: bytes, height: int, width: int, channels: int) -> tuple[str, str]:
    with pytest.raises(InvalidImage) as caught:
        decode(RawPixels(data, height, width, channels), SMALL, MAX_PIXELS)
    return caught.value.field, str(caught.value)


@pytest.mark.parametrize("channels", [-1, 0, 2, 5, 2**31 - 1])
def test_raw_pixels_have_one_three_or_four_channels(channels: int) -> None:
    assert pixels_refusal(b"\0" * 8, 2, 2, channels)[0] == "image.pixels.channels"


def test_raw_pixels_must_match_their_declared_shape() -> None:
    field, message = pixels_refusal(b"\0" * 11, 2, 2, 3)
    assert field == "image.pixels.data" and "11 bytes" in message and "needs 12" in message
    assert pixels_refusal(b"", 2, 2, 3)[0] == "image.pixels.data"
    assert pixels_refusal(b"\0" * 13, 2, 2, 3)[0] == "image.pixels.data"


@pytest.mark.parametrize("length", [0, -1, -(2**31)])
def test_raw_pixels_have_a_positive_size(length: int) -> None:
    assert pixels_refusal(b"", length, 2, 1)[0] == "image.pixels.height"
    assert pixels_refusal(b"", 2, length, 1)[0] == "image.pixels.width"


def test_raw_pixels_above_the_pixel_limit_are_refused() -> None:
    assert pixels_refusal(b"\0", 2**31 - 1, 2**31 - 1, 4)[0] == "image.pixels"
