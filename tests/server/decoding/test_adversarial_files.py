"""Tests of `decode`: what a file costs is bounded by its bytes and its pixels, whatever it is made of.

The corpus has, for every format, as many parts as fit into a megabyte: segments, chunks, scans, passes, frames, blocks,
palettes, tables, metadata that unpacks to much. Processor time is compared with that of an ordinary picture on the same
machine, with a wide margin; steps in Python, which hold the interpreter, are counted.
"""

import struct
import sys
import time
import zlib
from collections.abc import Callable

import pytest
from PIL import Image
from tests.server.decoding.crafted_files import frame_control, jpeg_segment, riff, riff_chunks, webp_canvas, webp_frame
from tests.server.decoding.image_files import PHOTO, photograph, png_chunk, save

from linnaeus.server.decoding.decode import decode
from linnaeus.server.decoding.decode_work import decode_work
from linnaeus.server.errors import InvalidImage
from linnaeus.server.requests.picture import EncodedImage

MEGABYTE = 1 << 20
MAX_PIXELS = 50_000_000
PICTURE = photograph(320, 240)
JPEG, PROGRESSIVE = save(PICTURE, "JPEG"), save(PICTURE, "JPEG", progressive=True)
PNG, GIF, WEBP, BMP = (save(PICTURE, format) for format in ("PNG", "GIF", "WEBP", "BMP"))
SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
BOMB = zlib.compress(bytes(64 * MEGABYTE), 9)
SIDE = 2000


def times(part: bytes) -> bytes:
    return part * (MEGABYTE // len(part))


def jpeg(inserted: bytes) -> bytes:
    return JPEG[:2] + inserted + JPEG[2:]


def large_jpeg(scans: int) -> bytes:
    """Returns a JPEG of four megapixels with scans that change nothing."""
    data = save(Image.new("RGB", (SIDE, SIDE), "red"), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + b"\xff\xd9"


def png(inserted: bytes, at: int = 33) -> bytes:
    return PNG[:at] + inserted + PNG[at:]


def png_of_tiny_chunks() -> bytes:
    start, end = PNG.index(b"IDAT") + 4, len(PNG) - 16
    return PNG[: start - 8] + b"".join(png_chunk(b"IDAT", PNG[at : at + 1]) for at in range(start, end)) + PNG[-12:]


def large_png(interlaced: bool, colour_type: int, depth: int, samples: int) -> bytes:
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour_type, 0, 0, interlaced)
    row = bytes(1 + SIDE * samples * depth // 8)
    palette = png_chunk(b"PLTE", bytes(range(256)) * 3) if colour_type == 3 else b""
    pixels = png_chunk(b"IDAT", zlib.compress(row * 2 * SIDE))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + palette + pixels + png_chunk(b"IEND", b"")


def gif(inserted: bytes) -> bytes:
    start = 13 + (3 << (GIF[10] & 7) + 1)
    return GIF[:start] + inserted + GIF[start:]


def webp(*chunks: tuple[bytes, bytes], flags: int = 0x2C) -> bytes:
    return riff(webp_canvas(flags, *PICTURE.size), *chunks)


def single_colour_webp(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return riff((b"VP8L", b"\x2f" + struct.pack("<I", bits) + b"\x88\x88\x08\0\0\0\0\0\0"))


SMALL_FRAME = webp_frame(0, 0, PICTURE.resize((2, 2)))
CORPUS: dict[str, Callable[[], bytes]] = {
    "JPEG of segments": lambda: b"\xff\xd8\xff" + times(b"\xff\xe1\0\2"),
    "JPEG with segments before": lambda: jpeg(times(b"\xff\xe1\0\2")),
    "JPEG with segments after": lambda: JPEG[:-2] + times(b"\xff\xe1\0\2") + b"\xff\xd9",
    "JPEG with fill bytes": lambda: jpeg(times(b"\xff")),
    "JPEG with stuffed bytes": lambda: JPEG[:-2] + times(b"\xff\0") + b"\xff\xd9",
    "JPEG with restarts": lambda: JPEG[:-2] + times(b"\xff\xd0") + b"\xff\xd9",
    "JPEG with metadata": lambda: jpeg(b"".join(jpeg_segment(0xE2, bytes(65_000)) for _ in range(16))),
    "JPEG with EXIF of entries": lambda: jpeg(jpeg_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(65_000))),
    "JPEG with quantization tables": lambda: jpeg(times(jpeg_segment(0xDB, (b"\0" + b"\1" * 64) * 900))),
    "JPEG with Huffman tables": lambda: jpeg(times(jpeg_segment(0xC4, (b"\0\1" + bytes(16)) * 3000))),
    "JPEG with scans": lambda: PROGRESSIVE[:-2] + times(SCAN) + b"\xff\xd9",
    "JPEG with 90 scans of many pixels": lambda: large_jpeg(80),
    "JPEG with scans of nothing": lambda: JPEG[:-2] + b"\xff\xda\0\2" * 99 + times(b"\xff\xe1\0\2"),
    "JPEG with scans behind its end": lambda: JPEG + times(b"\xff\xda\0\2"),
    "PNG of chunks": lambda: b"\x89PNG\r\n\x1a\n" + times(png_chunk(b"tEXt", b"")),
    "PNG with chunks": lambda: png(times(png_chunk(b"tEXt", b""))),
    "PNG with chunks after": lambda: png(times(png_chunk(b"tEXt", b"")), len(PNG) - 12),
    "PNG with empty pixels": lambda: png(times(png_chunk(b"IDAT", b""))),
    "PNG with pixels byte by byte": png_of_tiny_chunks,
    "PNG with palettes": lambda: png(times(png_chunk(b"PLTE", bytes(768)))),
    "PNG with a bomb of text": lambda: png(png_chunk(b"zTXt", b"a\0\0" + BOMB)),
    "PNG with a bomb of international text": lambda: png(png_chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB)),
    "PNG with a bomb of a profile": lambda: png(png_chunk(b"iCCP", b"a\0\0" + BOMB)),
    "PNG with EXIF of entries": lambda: png(png_chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(800_000))),
    "PNG of more pixels than it says": lambda: png(png_chunk(b"IDAT", BOMB)),
    "PNG with frames": lambda: png(png_chunk(b"acTL", bytes(8)) + frame_control(0, 320, 240) * 9000),
    "PNG in passes": lambda: large_png(True, 2, 8, 3),
    "PNG with transparency": lambda: large_png(False, 6, 8, 4),
    "PNG of 16 bits with transparency": lambda: large_png(False, 6, 16, 4),
    "PNG of 16 bit grey": lambda: large_png(False, 0, 16, 1),
    "PNG of a palette in passes": lambda: large_png(True, 3, 8, 1),
    "GIF of blocks": lambda: gif(b"!\xfe" + times(b"\1a") + b"\0"),
    "GIF of extensions": lambda: gif(times(b"!\xf9\x04\1\0\0\0\0")),
    "GIF of junk": lambda: gif(times(b"\1")),
    "GIF with frames": lambda: GIF[:-1] + times(b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2L\1\0"),
    "GIF with pixels byte by byte": lambda: GIF[:-1] + times(b"\1\1"),
    "WebP of chunks": lambda: webp(*[(b"JUNK", b"")] * (MEGABYTE // 8)),
    "WebP with chunks": lambda: webp(*riff_chunks(WEBP), *[(b"JUNK", b"")] * 15_000),
    "WebP with frames": lambda: webp((b"ANIM", bytes(6)), *[SMALL_FRAME] * 12_000, flags=2),
    "WebP with metadata": lambda: webp(*riff_chunks(WEBP), (b"ICCP", bytes(MEGABYTE)), (b"XMP ", BOMB)),
    "WebP with alpha chunks": lambda: webp(*[(b"ALPH", b"\0")] * 15_000, *riff_chunks(WEBP)),
    "WebP of one colour": lambda: single_colour_webp(SIDE, SIDE),
    "BMP with a palette": lambda: save(PICTURE.quantize(256), "BMP"),
    "BMP with a huge palette": lambda: BMP[:28] + b"\x08\0" + BMP[30:46] + struct.pack("<I", 65_536) + bytes(MEGABYTE),
    "BMP of runs": lambda: BMP[:28] + b"\x08\0\1\0\0\0" + BMP[34:54] + times(b"\1\1"),
}

# Processor time of an ordinary picture is allowed this many times for each of its pixels and for each of its bytes.
FOR_A_PIXEL, FOR_A_BYTE, IN_ANY_CASE = 20, 20, 3_000_000
# Lines of Python, of which a thousand take about 30 µs: 12 ms.
MOST_STEPS = 400_000


def outcome(data: bytes) -> None:
    try:
        decode(EncodedImage(data), PHOTO, MAX_PIXELS)
    except InvalidImage as error:
        assert len(str(error)) < 300


def least_seconds(data: bytes) -> float:
    """Returns the least processor time of three decodes."""
    taken = []
    for _ in range(3):
        start = time.thread_time()
        outcome(data)
        taken.append(time.thread_time() - start)
    return min(taken)


@pytest.fixture(scope="module")
def pixel_seconds() -> float:
    """Processor time for a pixel of an ordinary picture."""
    return least_seconds(save(photograph(1000, 1000), "PNG")) / 1e6


@pytest.mark.parametrize("name", CORPUS)
def test_processor_time_is_bounded_by_bytes_and_pixels(name: str, pixel_seconds: float) -> None:
    data = CORPUS[name]()
    pixels = min(decode_work(data, PHOTO).pixels, MAX_PIXELS)
    allowed = FOR_A_PIXEL * pixels + FOR_A_BYTE * len(data) + IN_ANY_CASE
    assert least_seconds(data) < allowed * pixel_seconds


@pytest.mark.parametrize("name", CORPUS)
def test_steps_in_python_are_bounded(name: str) -> None:
    data, steps = CORPUS[name](), 0

    def count(frame: object, event: str, argument: object) -> object:
        nonlocal steps
        steps += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)  # type: ignore[arg-type]
    try:
        outcome(data)
    finally:
        sys.settrace(before)
    assert steps < MOST_STEPS


@pytest.mark.parametrize("name", ["JPEG of segments", "PNG of chunks", "GIF of blocks", "WebP of chunks"])
def test_a_file_of_too_many_parts_is_refused_in_a_clear_sentence(name: str) -> None:
    with pytest.raises(InvalidImage, match="more than .* save it anew"):
        decode(EncodedImage(CORPUS[name]()), PHOTO, MAX_PIXELS)


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1), (1, 50_000_000), (50_000_000, 1)])
def test_a_side_has_at_most_65535_pixels(size: tuple[int, int]) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 1, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(9))) + png_chunk(b"IEND", b"")
    with pytest.raises(InvalidImage, match="a side may have at most 65535"):
        decode(EncodedImage(data), PHOTO, MAX_PIXELS)


@pytest.mark.parametrize("size", [(65_500, 40), (40, 65_500)])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_panorama_of_65500_pixels_is_decoded(size: tuple[int, int], format: str) -> None:
    data = save(Image.new("RGB", size, "green"), format)
    assert decode(EncodedImage(data), PHOTO, MAX_PIXELS).shape == (PHOTO.height, PHOTO.width, 3)


def test_more_scans_are_allowed_the_fewer_pixels_there_are() -> None:
    assert decode(EncodedImage(large_jpeg(80)), PHOTO, MAX_PIXELS).shape == (PHOTO.height, PHOTO.width, 3)
    large = save(Image.new("L", (6000, 6000)), "JPEG", progressive=True)
    last = large[large.rindex(b"\xff\xda") : -2]
    with pytest.raises(InvalidImage, match="more than 27 scans"):
        decode(EncodedImage(large[:-2] + last * 30 + b"\xff\xd9"), PHOTO, MAX_PIXELS)
