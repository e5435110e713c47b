"""Parses a GIF file up to its first image, which is all that a browser shows at first. Decodes nothing itself."""

import re
import struct

from linnaeus.server.decoding.container import Container, too_many

SIGNATURES = (b"GIF87a", b"GIF89a")

# Before the first image: a megabyte of colour profile in blocks of 255 bytes, or XMP, whose bytes count as lengths.
MAX_BLOCKS = 10_000

_BLOCK = re.compile(rb"[!,;]")  # extension, image, end; other bytes are skipped, as Pillow does
_MAX_GAP_BYTES = 1 << 16
_CONTROL = b"!\xf9\x04"
_SCREEN = struct.Struct("<HH")
_IMAGE = struct.Struct("<4H")  # left, top, width, height


def open_gif(data: bytes) -> Container:
    """Returns the first image as a GIF of its size, with the transparent colour, the screen as canvas.

    Raises:
        InvalidImage: if more than `MAX_BLOCKS` blocks stand before the first image.
    """
    flags = data[10] if len(data) > 10 else 0
    start = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    image, control = _find_image(data, start)
    if len(data) < image + 10:
        return Container("GIF", data[:start])  # Pillow refuses it
    left, top, width, height = _IMAGE.unpack_from(data, image + 1)
    screen = _SCREEN.unpack_from(data, 6)
    canvas = max(screen[0], left + width), max(screen[1], top + height)
    head = data[:6] + _SCREEN.pack(width, height) + data[10:start] + control
    body = b"," + _IMAGE.pack(0, 0, width, height) + data[image + 9 :]
    return Container("GIF", head + body, canvas=canvas, place=None if canvas == (width, height) else (left, top))


def _find_image(data: bytes, position: int) -> tuple[int, bytes]:
    """Returns the offset of the first image, and the extension that has its transparent colour, if any."""
    control, blocks = b"", 0
    while (match := _BLOCK.search(data, position, position + _MAX_GAP_BYTES)) and match[0] == b"!":
        start = match.start()
        if data.startswith(_CONTROL, start) and len(data) > start + 6 and data[start + 3] & 1:
            control = _CONTROL + bytes([1, 0, 0, data[start + 6], 0])
        position = start + 2
        while blocks <= MAX_BLOCKS and position < len(data) and data[position]:
            position += 1 + data[position]
            blocks += 1
        position += 1
        blocks += 1
        if blocks > MAX_BLOCKS:
            raise too_many("GIF", MAX_BLOCKS, "blocks before its first image")
    return (match.start() if match and match[0] == b"," else len(data)), control
