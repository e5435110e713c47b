"""Image files made by the tests of decoding, and the pixels expected of them."""

import io
import struct
import zlib

import numpy
import pytest
from numpy.typing import NDArray
from PIL import Image

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.decode import decode
from linnaeus.server.errors import InvalidImage
from linnaeus.server.requests.picture import EncodedImage

MAX_PIXELS = 20_000_000
DIGIT = InputSpec(channels=1, height=28, width=28, resize=28, interpolation="bilinear")
PHOTO = InputSpec(channels=3, height=224, width=224, resize=256, interpolation="bicubic")
SMALL = InputSpec(channels=3, height=24, width=24, resize=24, interpolation="bilinear")
SMALL_GREY = InputSpec(channels=1, height=24, width=24, resize=24, interpolation="bilinear")
Pixels = NDArray[numpy.uint8]


def save(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def noise(*shape: int, seed: int = 0) -> Pixels:
    return numpy.random.default_rng(seed).integers(0, 256, shape, dtype=numpy.uint8)


def photograph(width: int, height: int) -> Image.Image:
    """Returns an image of smooth colours with some detail, different in all four corners."""
    y, x = numpy.mgrid[0:1:height * 1j, 0:1:width * 1j]  # fmt: skip
    detail = 30 * numpy.sin(40 * x) * numpy.cos(30 * y)
    return Image.fromarray(numpy.stack([200 * x + 25, 200 * y + 25, 112 + detail], axis=2).astype(numpy.uint8))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    end = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(extra) + end


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def run(data: bytes, spec: InputSpec = SMALL, max_pixels: int = MAX_PIXELS) -> Pixels:
    return decode(EncodedImage(data), spec, max_pixels)


def refusal(data: bytes, max_pixels: int = MAX_PIXELS) -> InvalidImage:
    with pytest.raises(InvalidImage) as caught:
        run(data, SMALL, max_pixels)
    assert caught.value.field == "image.encoded"
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    return caught.value


def resize_then_crop(image: Image.Image, spec: InputSpec) -> Pixels:
    """Resizes and crops in two steps, as torchvision's Resize and CenterCrop do on a Pillow image."""
    short = min(image.size)
    filter = Image.Resampling[spec.interpolation.upper()]
    width, height = (int(spec.resize * length / short) for length in image.size)
    left, top = round((width - spec.width) / 2), round((height - spec.height) / 2)
    cut = image.resize((width, height), filter).crop((left, top, left + spec.width, top + spec.height))
    return numpy.asarray(cut).reshape(spec.height, spec.width, spec.channels)


def difference(one: Pixels, other: Pixels) -> NDArray[numpy.int16]:
    assert one.shape == other.shape
    return numpy.abs(numpy.subtract(one, other, dtype=numpy.int16))
