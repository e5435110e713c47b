"""Reads the format, the size and the coding of an encoded image from its first bytes.

Owns the layout of the headers alone: it checks nothing else, and what it returns is what the file claims. It runs on
the event loop for every request, so its cost is bounded: about a microsecond for an ordinary file, and at most
`_MAX_SEGMENTS` steps for any other. Must not know models, limits or Pillow.
"""

import struct
from typing import NamedTuple

# Cameras and editors write up to about forty segments before the frame header: EXIF, colour profile, XMP, thumbnails.
_MAX_SEGMENTS = 100
_MAX_WEBP_CHUNKS = 16

_JPEG_CODINGS = {
    0xC0: "baseline",
    0xC1: "baseline",
    0xC2: "progressive",
    0xC3: "lossless",
    0xC9: "arithmetic",
    0xCA: "arithmetic progressive",
    0xCB: "lossless",
}
_START_OF_SCAN = 0xDA
_SEGMENT = struct.Struct(">BBH")
_FRAME = struct.Struct(">HH")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_SIZE = struct.Struct(">II")
_GIF_SIZE = struct.Struct("<HH")
_BMP_SIZE = struct.Struct("<ii")
_BMP_CORE_SIZE = struct.Struct("<HH")
_WEBP_CHUNK = struct.Struct("<4sI")
_ANIMATED = 0x02


class ImageHeader(NamedTuple):
    """What an encoded image says about itself.

    Attributes:
        format: `JPEG`, `PNG`, `GIF`, `WEBP` or `BMP`.
        width: width in pixels, as stored; of the whole canvas for GIF and WebP.
        height: height in pixels, as stored.
        coding: what makes a pixel of this format dear or cheap, in one word or two. JPEG: `baseline`, `progressive`,
            `arithmetic`, `arithmetic progressive`, `lossless`. PNG: `plain`, `interlaced`. WebP: `lossy`, `lossless`,
            `animated`. GIF: `plain`. BMP: `plain`, `run-length`.
    """

    format: str
    width: int
    height: int
    coding: str


def read_header(data: bytes) -> ImageHeader | None:
    """Returns the header of an encoded image; None if the first bytes do not tell it. Never raises."""
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data.startswith(_PNG_START) and data.startswith(b"IHDR", 12):
            width, height = _PNG_SIZE.unpack_from(data, 16)
            return ImageHeader("PNG", width, height, "interlaced" if data[28] else "plain")
        if data.startswith(b"RIFF"):
            return _webp(data)
        if data.startswith(b"GIF8"):
            width, height = _GIF_SIZE.unpack_from(data, 6)
            return ImageHeader("GIF", width, height, "plain")
        return _bmp(data) if data.startswith(b"BM") else None
    except (struct.error, IndexError):  # the file is cut short within its header
        return None


def _jpeg(data: bytes) -> ImageHeader | None:
    position = 2
    for _ in range(_MAX_SEGMENTS):
        prefix, marker, length = _SEGMENT.unpack_from(data, position)
        if prefix != 0xFF or length < 2 or marker == _START_OF_SCAN:
            return None
        if marker in _JPEG_CODINGS:
            height, width = _FRAME.unpack_from(data, position + 5)
            return ImageHeader("JPEG", width, height, _JPEG_CODINGS[marker])
        position += 2 + length
    return None


def _webp(data: bytes) -> ImageHeader | None:
    kind, _ = _WEBP_CHUNK.unpack_from(data, 12)
    if data[8:12] != b"WEBP":
        return None
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return ImageHeader("WEBP", width, height, "animated" if data[20] & _ANIMATED else _webp_coding(data))
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return ImageHeader("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, "lossless")
    if kind == b"VP8 ":
        width, height = _GIF_SIZE.unpack_from(data, 26)
        return ImageHeader("WEBP", width & 0x3FFF, height & 0x3FFF, "lossy")
    return None


def _webp_coding(data: bytes) -> str:
    """Returns the coding of the first image of an extended file, which may follow other chunks."""
    position = 30
    for _ in range(_MAX_WEBP_CHUNKS):
        if position + 8 > len(data):
            break
        kind, length = _WEBP_CHUNK.unpack_from(data, position)
        if kind == b"VP8L":
            return "lossless"
        if kind == b"VP8 ":
            return "lossy"
        position += 8 + length + length % 2
    return "lossless"  # the dearer of the two


def _bmp(data: bytes) -> ImageHeader:
    if data[14] == 12:  # OS/2's header, with sides of two bytes and no compression
        width, height = _BMP_CORE_SIZE.unpack_from(data, 18)
        return ImageHeader("BMP", width, height, "plain")
    width, height = _BMP_SIZE.unpack_from(data, 18)
    return ImageHeader("BMP", abs(width), abs(height), "run-length" if data[30] in (1, 2) else "plain")
