"""Images that cost far more to decode than to send, by format; each stays within 50 megapixels and 100 JPEG scans.

Decoders accept all but two BMPs, which end before their last pixel. PNG and BMP are written byte by byte, the others
by Pillow. Nothing here knows the server.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping

from PIL import Image

_SIDE = 7000
_WEBP_SIZE = (16383, 3050)
_LONG_SIDE = 50_000_000
_SCANS = 95
_SMALL_PARTS = 80_000
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Adam7, PNG specification 8.2: first column, first row, column step and row step of each pass.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_GREY, _TRUE_COLOUR = 0, 2
_ENTROPY_CODED_END = 0xD9


def webp_of_34_bytes() -> bytes:
    """Returns a lossless WebP of 16383x3050 pixels of one colour."""
    return _saved(Image.new("RGB", _WEBP_SIZE), "WEBP", lossless=True, method=0, quality=0)


def webp_bombs() -> tuple[bytes, ...]:
    """Returns a lossy, a lossless and an animated WebP, each of one colour."""
    colour = Image.new("RGB", (_SIDE, _SIDE))
    other = Image.new("RGB", (_SIDE, _SIDE), "red")
    animated = _saved(colour, "WEBP", save_all=True, append_images=[other], lossless=True, method=0, quality=0)
    return _saved(colour, "WEBP", method=0), webp_of_34_bytes(), animated


def png_bombs() -> tuple[bytes, ...]:
    """Returns tall, wide, square and interlaced PNGs, and one of many small chunks."""
    return (
        png(1, _LONG_SIDE),
        png(_LONG_SIDE, 1),
        png(_SIDE, _SIDE),
        png(_SIDE, _SIDE, interlaced=True),
        png(_SIDE, _SIDE, bits=8, colour=_TRUE_COLOUR, interlaced=True),
        _png_of_small_chunks(),
    )


def jpeg_bombs() -> tuple[bytes, ...]:
    """Returns a baseline JPEG, progressive ones of 10 and of 95 scans, and one of many small segments."""
    colour = Image.new("RGB", (_SIDE, _SIDE))
    small = _saved(Image.new("L", (64, 64)), "JPEG")
    return (
        _saved(colour, "JPEG"),
        _saved(colour, "JPEG", progressive=True),
        jpeg_of_scans(_SIDE, _SIDE, _SCANS),
        small[:2] + b"\xff\xe4\x00\x02" * _SMALL_PARTS + small[2:],
    )


def gif_bombs() -> tuple[bytes, ...]:
    """Returns a GIF of one large frame, one of many frames, and a large canvas with a frame of one pixel."""
    large = _saved(Image.new("P", (_SIDE, _SIDE)), "GIF")
    frames = [Image.new("L", (_SIDE, _SIDE // 4), shade) for shade in range(4)]
    animated = _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    pixel = bytearray(_saved(Image.new("P", (1, 1)), "GIF"))
    pixel[6:10] = struct.pack("<HH", _SIDE, _SIDE)
    return large, animated, bytes(pixel)


def bmp_bombs() -> tuple[bytes, ...]:
    """Returns a BMP of 1 bit a pixel, and run-length coded ones: long runs, runs of one pixel, and no run at all."""
    long_runs = b"".join(b"\xff\x01" * (_SIDE // 255) + bytes([_SIDE % 255, 1]) + b"\0\0" for _ in range(_SIDE))
    short_runs = (b"\x01\x01" * _SIDE + b"\0\0") * 100
    plain = _saved(Image.new("1", (_SIDE, _SIDE)), "BMP")
    return plain, bmp_of_runs(long_runs), bmp_of_runs(short_runs), bmp_of_runs(b"")


BOMBS: Mapping[str, Callable[[], tuple[bytes, ...]]] = {
    "png": png_bombs,
    "jpeg": jpeg_bombs,
    "gif": gif_bombs,
    "bmp": bmp_bombs,
    "webp": webp_bombs,
}


def png(width: int, height: int, bits: int = 1, colour: int = _GREY, interlaced: bool = False) -> bytes:
    """Returns a black PNG.

    Args:
        width: in pixels.
        height: in pixels.
        bits: of a channel.
        colour: the colour type of the header, 0 (grey) or 2 (red, green, blue).
        interlaced: whether its rows come in the seven passes of Adam7.
    """
    pixel_bits = bits * (3 if colour == _TRUE_COLOUR else 1)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    zeros = 0
    for column, row, column_step, row_step in passes:
        columns, rows = -((column - width) // column_step), -((row - height) // row_step)
        zeros += rows * (1 + (columns * pixel_bits + 7) // 8) if columns > 0 else 0
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    return _png_file(_chunk(b"IHDR", header), _chunk(b"IDAT", _deflated_zeros(zeros)))


def jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """Returns a progressive grey JPEG whose last scan is repeated until the file has this many scans."""
    file = _saved(Image.new("L", (width, height)), "JPEG", progressive=True)
    last, end = file.rindex(b"\xff\xda"), len(file) - 2
    if file[end] != 0xFF or file[end + 1] != _ENTROPY_CODED_END:
        raise ValueError("the encoder wrote something after the end of the image")
    return file[:end] + file[last:end] * (scans - file.count(b"\xff\xda")) + file[end:]


def bmp_of_runs(runs: bytes, side: int = _SIDE) -> bytes:
    """Returns a square BMP of 8 bits a pixel whose pixels are these runs (BI_RLE8) and the end of the bitmap."""
    pixels, palette = runs + b"\0\1", bytes(4) + b"\xff" * 4
    offset = 14 + 40 + len(palette)
    file = struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset)
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(pixels), 0, 0, 2, 0)
    return file + header + palette + pixels


def _png_of_small_chunks() -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, _GREY, 0, 0, 0))
    return _png_file(header, _chunk(b"tEXt", b"") * _SMALL_PARTS, _chunk(b"IDAT", zlib.compress(bytes(8 * 9))))


def _png_file(*chunks: bytes) -> bytes:
    return b"".join((_PNG_SIGNATURE, *chunks, _chunk(b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _deflated_zeros(count: int) -> bytes:
    compressor, block = zlib.compressobj(9), bytes(1 << 20)
    parts = [compressor.compress(block) for _ in range(count >> 20)]
    return b"".join((*parts, compressor.compress(bytes(count & 0xFFFFF)), compressor.flush()))


def _saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()
