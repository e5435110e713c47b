"""Small valid files of every accepted format, from which the fuzzer makes its mutants."""

import struct

import numpy
from PIL import Image
from tests.server.decoding.crafted_files import (
    bmp,
    bottom_up_bgr,
    frame_control,
    gif_on_canvas,
    riff,
    riff_chunks,
    tiff,
    webp_canvas,
    webp_frame,
)
from tests.server.decoding.image_files import exif, noise, photograph, png, png_chunk, save

BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def seeds() -> list[bytes]:
    """Returns the files, in a fixed order."""
    rgba = Image.fromarray(noise(33, 47, 4))
    rgb, palette, smooth = rgba.convert("RGB"), rgba.convert("RGB").quantize(50), photograph(96, 64)
    return [
        *_jpegs(rgb, smooth),
        *_pngs(rgba, palette, smooth),
        *_webps(rgba, smooth),
        *_bmps(rgb, palette),
        save(rgb, "GIF", save_all=True, append_images=[rgb.rotate(8)], comment=b"hello"),
        save(palette, "GIF", transparency=3),
        gif_on_canvas(palette, (90, 80), (10, 20)),
    ]


def _turned() -> Image.Exif:
    turned = exif(6)
    turned[0x011A] = 72.0  # a resolution, which Pillow reads when it opens a JPEG
    return turned


def _jpegs(rgb: Image.Image, smooth: Image.Image) -> list[bytes]:
    return [
        save(rgb, "JPEG", exif=_turned(), icc_profile=b"profile" * 40),
        save(smooth, "JPEG", progressive=True),
        save(smooth, "JPEG", restart_marker_blocks=2),
        save(smooth.convert("L"), "JPEG", comment=b"hello"),
        save(rgb.convert("CMYK"), "JPEG"),
        save(rgb, "MPO", save_all=True, append_images=[rgb]),
    ]


def _pngs(rgba: Image.Image, palette: Image.Image, smooth: Image.Image) -> list[bytes]:
    interlaced = bytearray(save(smooth, "PNG"))
    interlaced[28] = 1
    interlaced[16:33] = png_chunk(b"IHDR", bytes(interlaced[16:29]))[8:]
    plain = save(smooth, "PNG")
    control, frame = png_chunk(b"acTL", struct.pack(">II", 1, 0)), frame_control(0, 96, 64)
    moving = png_chunk(b"fdAT", struct.pack(">I", 1) + plain[plain.index(b"IDAT") + 4 : -16])
    return [
        save(rgba.convert("RGB"), "PNG", exif=_turned()),
        save(palette, "PNG", transparency=bytes(range(50))),
        save(rgba, "PNG", save_all=True, append_images=[rgba.rotate(9)]),
        save(Image.fromarray(noise(30, 40).astype(numpy.uint16) * 200), "PNG"),
        png(9, 9, 16, 2, bytes(55 * 9), png_chunk(b"tRNS", bytes(6)), png_chunk(b"gAMA", bytes(4))),
        bytes(interlaced),
        plain[:33] + control + plain[33:-12] + frame + moving + plain[-12:],
    ]


def _webps(rgba: Image.Image, smooth: Image.Image) -> list[bytes]:
    still = save(smooth, "WEBP")
    moving = [webp_frame(2, 4, rgba), webp_frame(0, 0, smooth)]
    return [
        still,
        save(rgba, "WEBP"),
        save(rgba, "WEBP", lossless=True),
        riff(webp_canvas(8, 96, 64), *riff_chunks(still), (b"EXIF", tiff(6)), (b"XMP ", b"<x/>")),
        riff(webp_canvas(2, 96, 64), (b"ANIM", bytes(6)), *moving),
    ]


def _bmps(rgb: Image.Image, palette: Image.Image) -> list[bytes]:
    pixels = numpy.dstack([bottom_up_bgr(rgb), noise(rgb.height, rgb.width)]).tobytes()
    return [
        save(rgb, "BMP"),
        save(palette, "BMP"),
        bmp(124, rgb.size, 32, 3, pixels, BGRA),
        bmp(40, rgb.size, 32, 3, pixels, BGRA[:3]),
        bmp(108, (32, 20), 16, 3, noise(20, 64).tobytes(), (0x7C00, 0x3E0, 0x1F, 0x8000)),
    ]
