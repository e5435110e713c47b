"""Tests of `decode`: a picture means what a browser shows, over white (compared once with Chromium 150)."""

import struct
import zlib

import numpy
import pytest
from PIL import Image
from tests.server.decoding.crafted_files import (
    bmp,
    bottom_up_bgr,
    frame_control,
    gif_on_canvas,
    jpeg_segment,
    riff,
    riff_chunks,
    tiff,
    webp_canvas,
    webp_frame,
)
from tests.server.decoding.image_files import Pixels, difference, exif, photograph, png_chunk, refusal, run, save

from linnaeus.models.manifest import InputSpec

WIDTH, HEIGHT = 64, 48
WHOLE = InputSpec(3, HEIGHT, HEIGHT, HEIGHT, "bilinear")
LEFT = (WIDTH - HEIGHT) // 2
PICTURE = photograph(WIDTH, HEIGHT)
FRAME, PLACE = photograph(20, 16).quantize(30), (10, 12)
RAMP = numpy.broadcast_to(numpy.arange(WIDTH, dtype=numpy.uint8) * 4, (HEIGHT, WIDTH))
BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def middle(pixels: Pixels) -> Pixels:
    return pixels[:, LEFT : LEFT + HEIGHT]


def on_white(frame: Image.Image) -> Pixels:
    canvas = Image.new("RGB", PICTURE.size, "white")
    canvas.paste(frame.convert("RGB"), PLACE)
    return middle(numpy.asarray(canvas))


def faded(alpha: Pixels) -> Pixels:
    opacity = alpha[:, :, None] / 255
    return middle(numpy.round(numpy.asarray(PICTURE) * opacity + 255 * (1 - opacity)).astype(numpy.uint8))


@pytest.mark.parametrize("transparent", [None, 200])
def test_what_the_first_image_of_a_gif_leaves_uncovered_is_white(transparent: int | None) -> None:
    data = gif_on_canvas(FRAME, PICTURE.size, PLACE, transparent)
    assert numpy.array_equal(run(data, WHOLE), on_white(FRAME))


def test_a_gif_image_that_leaves_its_canvas_enlarges_it() -> None:
    data = gif_on_canvas(FRAME, (24, 20), PLACE)
    canvas = Image.new("RGB", (30, 28), "white")
    canvas.paste(FRAME.convert("RGB"), PLACE)
    assert numpy.array_equal(run(data, InputSpec(3, 28, 28, 28, "bilinear")), numpy.asarray(canvas)[:, 1:29])
    assert numpy.array_equal(
        run(gif_on_canvas(FRAME, (0, 0), (0, 0)), InputSpec(3, 16, 16, 16, "bilinear")),
        numpy.asarray(FRAME.convert("RGB"))[:, 2:18],
    )


@pytest.mark.parametrize("flags", [0x02, 0x12], ids=["without the alpha flag", "with the alpha flag"])
@pytest.mark.parametrize("background", [bytes(4), bytes([0, 0, 255, 255])])
def test_what_the_first_frame_of_a_webp_leaves_uncovered_is_white(flags: int, background: bytes) -> None:
    frame = FRAME.convert("RGB")
    canvas, loop = webp_canvas(flags, WIDTH, HEIGHT), (b"ANIM", background + bytes(2))
    data = riff(canvas, loop, webp_frame(*PLACE, frame), webp_frame(0, 0, PICTURE))
    assert numpy.array_equal(run(data, WHOLE), on_white(frame))


def test_only_the_first_frame_of_a_webp_is_read() -> None:
    canvas, loop = webp_canvas(2, WIDTH, HEIGHT), (b"ANIM", bytes(6))
    data = riff(canvas, loop, webp_frame(0, 0, PICTURE), (b"ANMF", b"broken"), (b"XMP ", b"<" * 99))
    assert numpy.array_equal(run(data, WHOLE), middle(numpy.asarray(PICTURE)))


def test_a_webp_that_is_cut_in_a_later_frame_is_refused() -> None:
    canvas, loop = webp_canvas(2, WIDTH, HEIGHT), (b"ANIM", bytes(6))
    data = riff(canvas, loop, webp_frame(0, 0, PICTURE), webp_frame(0, 0, PICTURE))
    assert numpy.array_equal(run(data + b"more", WHOLE), middle(numpy.asarray(PICTURE)))
    assert "cut short" in str(refusal(data[:-2]))


def scanlines(image: Image.Image) -> bytes:
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in numpy.asarray(image.convert("RGB"))))


def animated_png(*chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0))
    control = png_chunk(b"acTL", struct.pack(">II", 1, 0))
    return b"\x89PNG\r\n\x1a\n" + header + control + b"".join(chunks) + png_chunk(b"IEND", b"")


RED = png_chunk(b"IDAT", scanlines(Image.new("RGB", PICTURE.size, "red")))


def moving(sequence: int, image: Image.Image) -> bytes:
    """Returns the pixels of a frame in two chunks."""
    data = scanlines(image)
    first, second = (struct.pack(">I", sequence + step) for step in range(2))
    return png_chunk(b"fdAT", first + data[:50]) + png_chunk(b"fdAT", second + data[50:])


def test_an_animated_png_shows_its_first_frame_and_not_the_picture_for_old_programs() -> None:
    data = animated_png(RED, frame_control(0, WIDTH, HEIGHT), moving(1, PICTURE), frame_control(3, WIDTH, HEIGHT))
    assert numpy.array_equal(run(data, WHOLE), middle(numpy.asarray(PICTURE)))
    small = animated_png(RED, frame_control(0, *FRAME.size, *PLACE), moving(1, FRAME))
    assert numpy.array_equal(run(small, WHOLE), on_white(FRAME))


def test_an_animated_png_that_begins_with_its_still_picture_shows_it() -> None:
    still = png_chunk(b"IDAT", scanlines(PICTURE))
    other = moving(2, Image.new("RGB", PICTURE.size, "red"))
    data = animated_png(frame_control(0, WIDTH, HEIGHT), still, frame_control(1, WIDTH, HEIGHT), other)
    assert numpy.array_equal(run(data, WHOLE), middle(numpy.asarray(PICTURE)))


@pytest.mark.parametrize("header", [108, 124])
@pytest.mark.parametrize("compression", [0, 3])
def test_a_bmp_without_any_alpha_is_opaque_and_one_with_alpha_transparent(header: int, compression: int) -> None:
    for alpha, expected in ((RAMP * 0, RAMP * 0 + 255), (RAMP * 0 + 255, RAMP * 0 + 255), (RAMP, RAMP)):
        pixels = numpy.dstack([bottom_up_bgr(PICTURE), alpha]).tobytes()
        data = bmp(header, PICTURE.size, 32, compression, pixels, BGRA)
        assert difference(run(data, WHOLE), faded(expected)).max() <= 1


@pytest.mark.parametrize(
    ("header", "compression", "masks"),
    [(40, 0, ()), (40, 3, BGRA[:3]), (52, 3, BGRA[:3]), (56, 0, BGRA), (124, 3, (*BGRA[:3], 0)), (124, 0, ())],
)
def test_the_fourth_byte_of_a_bmp_without_an_alpha_mask_means_nothing(
    header: int, compression: int, masks: tuple[int, ...]
) -> None:
    pixels = numpy.dstack([bottom_up_bgr(PICTURE), RAMP]).tobytes()
    data = bmp(header, PICTURE.size, 32, compression, pixels, masks)
    assert numpy.array_equal(run(data, WHOLE), middle(numpy.asarray(PICTURE)))


@pytest.mark.parametrize("order", ["BGRA", "RGBA", "ABGR", "ARGB"])
def test_the_masks_of_a_bmp_tell_the_order_of_its_colours(order: str) -> None:
    planes = dict(zip("BGRA", [*numpy.moveaxis(bottom_up_bgr(PICTURE), 2, 0), RAMP], strict=True))
    masks = tuple(0xFF << 8 * order.index(colour) for colour in "RGBA")
    data = bmp(124, PICTURE.size, 32, 3, numpy.dstack([planes[colour] for colour in order]).tobytes(), masks)
    assert difference(run(data, WHOLE), faded(RAMP)).max() <= 1


def sixteen_bits(masks: tuple[int, int, int, int], alpha: Pixels) -> bytes:
    """Returns rows of two bytes a pixel whose masks, of up to 8 bits, hold the picture and the alpha."""
    blue, green, red = numpy.moveaxis(bottom_up_bgr(PICTURE), 2, 0)
    samples = numpy.zeros(alpha.shape, numpy.uint16)
    for plane, mask in zip((red, green, blue, alpha), masks, strict=True):
        shift, levels = (mask & -mask).bit_length() - 1 if mask else 0, mask // (mask & -mask) if mask else 0
        samples |= (numpy.round(plane * (levels / 255)).astype(numpy.uint16) << shift).astype(numpy.uint16)
    return samples.tobytes()


@pytest.mark.parametrize(
    ("masks", "levels"),
    [((0xF00, 0xF0, 0xF, 0xF000), 15), ((0x7C00, 0x3E0, 0x1F, 0), 31), ((0xF800, 0x7E0, 0x1F, 0), 31)],
)
def test_a_bmp_of_sixteen_bits_has_the_colours_and_the_alpha_of_its_masks(
    masks: tuple[int, int, int, int], levels: int
) -> None:
    expected = faded(RAMP if masks[3] else RAMP * 0 + 255)
    data = bmp(124, PICTURE.size, 16, 3, sixteen_bits(masks, RAMP), masks)
    assert difference(run(data, WHOLE), expected).max() <= 2 * 255 / levels


def test_a_bmp_of_sixteen_bits_without_any_alpha_is_opaque() -> None:
    masks = (0x7C00, 0x3E0, 0x1F, 0x8000)
    data = bmp(124, PICTURE.size, 16, 3, sixteen_bits(masks, RAMP * 0), masks)
    assert difference(run(data, WHOLE), middle(numpy.asarray(PICTURE))).max() <= 8


def test_a_bmp_stored_from_the_top_is_upright() -> None:
    pixels = numpy.dstack([bottom_up_bgr(PICTURE)[::-1], RAMP]).tobytes()
    data = bmp(124, (WIDTH, -HEIGHT), 32, 3, pixels, BGRA)
    assert difference(run(data, WHOLE), faded(RAMP)).max() <= 1


JPEG = save(PICTURE, "JPEG", quality=95)
TURNED = save(PICTURE, "JPEG", quality=95, exif=exif(3))
PNG = save(PICTURE, "PNG")
WEBP = save(PICTURE, "WEBP", lossless=True)


def with_exif(body: bytes) -> bytes:
    return JPEG[:2] + jpeg_segment(0xE1, body) + JPEG[2:]


@pytest.mark.parametrize(
    "body",
    [
        b"Exif\0\0" + tiff(3, kind=4),
        b"Exif\0\0" + tiff(3, count=2),
        b"Exif\0\0" + tiff(9),
        b"Exif\0\0damaged",
        b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='3'/>",
    ],
    ids=["LONG", "two", "nine", "damaged", "XMP"],
)
def test_an_orientation_that_browsers_ignore_is_ignored(body: bytes) -> None:
    assert numpy.array_equal(run(with_exif(body), WHOLE), run(JPEG, WHOLE))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("start", [b"Exif\0\0", b"Exif\0\xff"])
def test_an_orientation_in_either_byte_order_is_applied(order: str, start: bytes) -> None:
    assert numpy.array_equal(run(with_exif(start + tiff(3, order=order)), WHOLE), run(TURNED, WHOLE))


def test_the_first_exif_of_a_jpeg_counts() -> None:
    two = jpeg_segment(0xE1, b"Exif\0\0" + tiff(3)) + jpeg_segment(0xE1, b"Exif\0\0" + tiff(1))
    assert numpy.array_equal(run(JPEG[:2] + two + JPEG[2:], WHOLE), run(TURNED, WHOLE))


def test_the_orientation_of_a_png_counts_before_its_pixels_and_if_it_is_intact() -> None:
    chunk = png_chunk(b"eXIf", tiff(3))
    upright = run(PNG, WHOLE)
    assert numpy.array_equal(run(PNG[:33] + chunk + PNG[33:], WHOLE), upright[::-1, ::-1])
    assert numpy.array_equal(run(PNG[:-12] + chunk + PNG[-12:], WHOLE), upright)
    assert numpy.array_equal(run(PNG[:33] + chunk[:-1] + b"?" + PNG[33:], WHOLE), upright)


@pytest.mark.parametrize("start", [b"", b"Exif\0\0"])
def test_the_orientation_of_a_webp_is_applied_wherever_it_stands(start: bytes) -> None:
    note, upright = (b"EXIF", start + tiff(3)), run(WEBP, WHOLE)
    for chunks in ([*riff_chunks(WEBP), note], [note, *riff_chunks(WEBP)]):
        data = riff(webp_canvas(8, WIDTH, HEIGHT), *chunks)
        assert numpy.array_equal(run(data, WHOLE), upright[::-1, ::-1])
