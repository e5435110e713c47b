"""Tests of `decode`: orientation, colours, transparency and frames of each file format."""

import io
import struct

import numpy
import pytest
from PIL import Image, ImageOps
from tests.server.decoding.image_files import (
    MAX_PIXELS,
    PHOTO,
    SMALL,
    SMALL_GREY,
    difference,
    exif,
    noise,
    photograph,
    png,
    png_chunk,
    resize_then_crop,
    run,
    save,
)

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import RawPixels


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    spec = InputSpec(3, 21, 32, 33, "bilinear")
    data = save(photograph(120, 80), format, exif=exif(orientation), quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert difference(run(data, spec), resize_then_crop(upright, spec)).max() <= 3


def test_a_large_rotated_jpeg_is_cropped_at_the_place_of_the_upright_one() -> None:
    image = photograph(1283, 961)
    for orientation in range(1, 9):
        data = save(image, "JPEG", exif=exif(orientation), quality=95)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        assert difference(run(data, PHOTO), resize_then_crop(upright, PHOTO)).mean() < 0.7


@pytest.mark.parametrize(
    "broken", [b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01", b"?" * 9]
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_malformed_exif_is_ignored(format: str, broken: bytes) -> None:
    image = photograph(40, 30)
    assert numpy.array_equal(run(save(image, format, exif=b"Exif\0\0" + broken)), run(save(image, format)))


def test_a_large_image_gives_the_same_pixels_in_each_format() -> None:
    image = photograph(100, 80)
    expected = run(save(image, "PNG"))
    assert numpy.array_equal(run(save(image, "BMP")), expected)
    assert numpy.array_equal(run(save(image, "WEBP", lossless=True)), expected)
    assert numpy.array_equal(decode(RawPixels(image.tobytes(), 80, 100, 3), SMALL, MAX_PIXELS), expected)
    assert difference(run(save(image, "JPEG", quality=95)), expected).mean() < 2
    assert difference(run(save(image, "GIF")), expected).mean() < 12  # 256 colours at most


def test_colour_becomes_luma_and_grey_becomes_equal_rgb() -> None:
    colour, grey = Image.fromarray(noise(24, 24, 3)), Image.fromarray(noise(24, 24))
    assert numpy.array_equal(run(save(colour, "PNG"), SMALL_GREY)[:, :, 0], numpy.asarray(colour.convert("L")))
    assert numpy.array_equal(run(save(grey, "PNG")), numpy.asarray(grey.convert("RGB")))


def test_a_cmyk_jpeg_has_the_right_colours() -> None:
    image = photograph(48, 48)
    assert difference(run(save(image.convert("CMYK"), "JPEG", quality=95)), run(save(image, "PNG"))).mean() < 2


def test_a_ycck_jpeg_has_the_right_colours() -> None:
    image = photograph(48, 48)
    # The file holds YCbCr of the inverted colours. Pillow inverts on writing and cannot write the YCCK flag.
    planes = [ImageOps.invert(plane) for plane in ImageOps.invert(image).convert("YCbCr").split()]
    cmyk = Image.merge("CMYK", [*planes, Image.new("L", image.size, 0)])
    data = bytearray(save(cmyk, "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    assert difference(run(bytes(data)), run(save(image, "PNG"))).mean() < 3


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    samples = numpy.random.default_rng(1).integers(0, 65536, (24, 24), dtype=numpy.uint16)
    samples[0, :4] = 0, 128, 129, 65535
    pixels = run(save(Image.fromarray(samples), "PNG"), SMALL_GREY)[:, :, 0]
    assert numpy.array_equal(pixels, numpy.round(samples * (255 / 65535)).astype(numpy.uint8))


def test_sixteen_bit_colour_gives_the_same_pixels() -> None:
    image = noise(24, 24, 3)
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in image)
    assert numpy.array_equal(run(png(24, 24, 16, 2, rows)), image)


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(noise(24, 24)).convert("1")
    assert numpy.array_equal(run(save(image, "PNG"), SMALL_GREY)[:, :, 0], numpy.asarray(image.convert("L")))


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_transparent_pixels_are_composited_over_white(format: str) -> None:
    colours = noise(24, 24, 4)
    colours[:8, :, 3], colours[8:16, :, 3] = 0, 255
    pixels = run(save(Image.fromarray(colours), format, **({"lossless": True} if format == "WEBP" else {})))
    opacity = colours[:, :, 3:] / 255
    assert (
        difference(pixels, numpy.round(colours[:, :, :3] * opacity + 255 * (1 - opacity)).astype(numpy.uint8)).max()
        <= 1
    )
    assert numpy.array_equal(pixels[8:16], colours[8:16, :, :3]) and pixels[:8].min() == 255
    assert numpy.array_equal(decode(RawPixels(colours.tobytes(), 24, 24, 4), SMALL, 576), pixels) or format == "WEBP"


def test_a_fully_opaque_alpha_channel_changes_nothing() -> None:
    for mode, spec in (("LA", SMALL_GREY), ("RGBA", SMALL)):
        image = Image.fromarray(noise(24, 24, 3)).convert(mode[:-1])
        assert numpy.array_equal(run(save(image.convert(mode), "PNG"), spec), run(save(image, "PNG"), spec))


@pytest.mark.parametrize("transparency", [None, 3, bytes([255] * 3 + [0, 128])])
def test_palette_colours_are_applied(transparency: int | bytes | None) -> None:
    image = photograph(24, 24).quantize(16)
    expected = numpy.asarray(image.convert("RGB")).astype(float)
    indices = numpy.asarray(image)
    if transparency is not None:
        expected[indices == 3] = 255
    if isinstance(transparency, bytes):
        expected[indices == 4] = expected[indices == 4] * 128 / 255 + 127
    options = {} if transparency is None else {"transparency": transparency}
    assert numpy.abs(run(save(image, "PNG", **options)) - expected).max() <= 1
    if not isinstance(transparency, bytes):
        assert numpy.abs(run(save(image, "GIF", **options)) - expected).max() <= 1


@pytest.mark.parametrize(
    ("depth", "colour_type", "samples", "transparent", "expected"),
    [
        (8, 0, bytes([7, 90]), struct.pack(">H", 7), [255, 90]),
        (8, 2, bytes([1, 2, 3, 90, 90, 90]), struct.pack(">3H", 1, 2, 3), [255, 90]),
        (2, 0, bytes([0b01100000]), struct.pack(">H", 1), [255, 170]),
        (1, 0, bytes([0b01000000]), struct.pack(">H", 0), [255, 255]),
        (16, 0, struct.pack(">2H", 300, 25700), struct.pack(">H", 300), [255, 100]),
        (16, 2, struct.pack(">6H", *[0x1234] * 3, *[25700] * 3), struct.pack(">3H", *[0x1234] * 3), [255, 100]),
    ],
)
def test_a_pngs_transparent_colour_becomes_white(
    depth: int, colour_type: int, samples: bytes, transparent: bytes, expected: list[int]
) -> None:
    data = png(2, 1, depth, colour_type, b"\0" + samples, png_chunk(b"tRNS", transparent))
    assert run(data, InputSpec(1, 1, 1, 1, "bilinear")).shape == (1, 1, 1)
    tall = png(2, 2, depth, colour_type, (b"\0" + samples) * 2, png_chunk(b"tRNS", transparent))
    assert run(tall, InputSpec(1, 2, 2, 2, "bilinear"))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("transparency", [bytes(300), b"\xff" * 299 + b"\0"])
def test_a_pngs_transparency_of_more_colours_than_a_palette_has_means_nothing(transparency: bytes) -> None:
    data = save(photograph(24, 24).quantize(16), "PNG")
    start = data.index(b"IDAT") - 4
    assert numpy.array_equal(run(data[:start] + png_chunk(b"tRNS", transparency) + data[start:]), run(data))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_used(format: str) -> None:
    first, second = photograph(24, 24).quantize(64).convert("RGB"), Image.new("RGB", (24, 24), "red")
    options = {"lossless": True} if format == "WEBP" else {}
    data = save(first, format, save_all=True, append_images=[second], duration=50, **options)
    assert difference(run(data), numpy.asarray(first)).max() <= 1


def test_only_the_first_frame_of_a_gif_is_read() -> None:
    image = photograph(24, 24).quantize(64)
    data = save(image, "GIF", comment=b"first", transparency=3)
    assert numpy.array_equal(run(data[:-1] + b"," + b"\xff" * 50), run(data))
    assert (run(data)[numpy.asarray(image) == 3] == 255).all()


def test_the_first_image_of_an_mpo_is_used() -> None:
    image = photograph(40, 40)
    data = save(image, "MPO", save_all=True, append_images=[Image.new("RGB", (40, 40))])
    assert numpy.array_equal(run(data), run(save(image, "JPEG")))
