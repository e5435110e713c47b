"""Opens the envelope of an encoded picture: which format, which way up, and the bytes that make pixels.

Knows how the five formats lay out their parts, and decodes none of them. JPEG, PNG and GIF are passed on without
their metadata, because Pillow parses it on opening, in Python: broken EXIF, MPO and APNG parts make it warn (warnings
are process-wide state, which threads cannot silence for themselves), compressed text makes it work for nothing, and a
GIF's disposal method makes it take memory for a frame of any size.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from linnaeus.server.decoding.exif_orientation import UPRIGHT, read_orientation
from linnaeus.server.errors import InvalidImage

ENCODED_FIELD = "image.encoded"

# Encoders write about ten scans. Each costs a pass over all coefficients, whatever its length: 31 bytes a scan keep
# a core busy for 6 ms at 16 megapixels, so that a file of one megabyte would take minutes.
MAX_JPEG_SCANS = 100

_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1
# Every marker but those that stand alone within a scan (stuffing, restart) or mean nothing.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
# Frames, tables, restart interval, and the two application segments that say how colours are coded: JFIF and Adobe.
# Not 0xC8, for which no segment is defined: Pillow would look for markers inside it.
_JPEG_KEPT = frozenset([*range(0xC0, 0xC8), *range(0xC9, 0xD0), 0xDB, 0xDD, 0xE0, 0xEE])

_GIF_BLOCK = re.compile(rb"[!,;]")  # extension, image, end; Pillow skips other bytes, too
_GIF_CONTROL = b"!\xf9\x04"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset([b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"])


@dataclass(frozen=True, slots=True)
class Container:
    """An encoded picture, ready for Pillow.

    Attributes:
        format: Pillow's name of the format.
        data: the file, without its metadata where that can be left out.
        orientation: EXIF's, 1 (upright) to 8.
        canvas: WebP's width and height in pixels; zero for the other formats, whose size Pillow tells without taking
            memory.
    """

    format: str
    data: bytes
    orientation: int = UPRIGHT
    canvas: tuple[int, int] = (0, 0)


def open_container(data: bytes) -> Container:
    """Recognises a JPEG (or MPO), PNG, GIF, WebP or BMP file by its first bytes.

    Raises:
        InvalidImage: the data is empty or no such file, a JPEG has an absurd number of scans, or a WebP has no size.
    """
    if not data:
        raise InvalidImage(ENCODED_FIELD, "the picture is empty (0 bytes): send a whole image file")
    if data.startswith(b"\xff\xd8\xff"):
        return _open_jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _open_png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _open_webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _open_gif(data)
    if data.startswith(b"BM"):
        return Container("BMP", data)
    raise InvalidImage(
        ENCODED_FIELD,
        f"the {len(data)} bytes are no picture in a known format (they begin with {data[:8].hex(' ')}): "
        "send a JPEG, PNG, GIF, WebP or BMP file",
    )


def _open_jpeg(data: bytes) -> Container:
    kept, exif = [data[:2]], b""
    for marker, start, end in _jpeg_segments(data, 2):
        if marker == _START_OF_SCAN:
            _check_scans(data, start)
            kept.append(data[start:])
            break
        if marker == _APP1 and not exif and data.startswith(b"Exif\0\0", start + 4):
            exif = data[start + 4 : end]
        if marker in _JPEG_KEPT:
            kept.append(data[start:end])
    return Container("JPEG", b"".join(kept), read_orientation(exif))


def _jpeg_segments(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yields each segment's marker, start and end; skips what lies between segments and ends at an impossible length.

    Going on there would let Pillow, which reads such a length otherwise, find segments that were never seen here.
    """
    while match := _MARKER.search(data, position):
        start = match.start()
        length = int.from_bytes(data[start + 2 : start + 4], "big")  # counts its own two bytes
        if length < 2:
            return
        position = start + 2 + length
        yield match[1][0], start, position


def _check_scans(data: bytes, start: int) -> None:
    # The plain count is quick but too high where more follows the picture (a film, say); only then walk. numpy counts
    # eight times as fast as bytes.count, and without the GIL: 0.1 ms a megabyte.
    following = numpy.frombuffer(data, numpy.uint8, offset=start)
    if numpy.count_nonzero((following[:-1] == 0xFF) & (following[1:] == _START_OF_SCAN)) <= MAX_JPEG_SCANS:
        return
    scans = 0
    for marker, _, _ in _jpeg_segments(data, start):
        if marker == _END_OF_IMAGE:
            return
        scans += marker == _START_OF_SCAN
        if scans > MAX_JPEG_SCANS:
            raise InvalidImage(
                ENCODED_FIELD, f"the JPEG file has more than {MAX_JPEG_SCANS} scans: save it as an ordinary JPEG"
            )


def _open_png(data: bytes) -> Container:
    kept, exif = [_PNG_SIGNATURE], b""
    position = len(_PNG_SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind in _PNG_KEPT:
            kept.append(data[position:end])
        elif kind == b"eXIf":
            exif = data[position + 8 : end - 4]
        position = end
    return Container("PNG", b"".join(kept), read_orientation(exif))


def _open_gif(data: bytes) -> Container:
    """Keeps the screen, the transparent colour and the first image; what follows that is never read."""
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    screen, control = data[:position], b""
    while (match := _GIF_BLOCK.search(data, position)) and match[0] == b"!":
        start = match.start()
        if data.startswith(_GIF_CONTROL, start) and len(data) > start + 6 and data[start + 3] & 1:
            control = _GIF_CONTROL + bytes([1, 0, 0, data[start + 6], 0])
        position = _after_gif_blocks(data, start + 2)
    image = data[match.start() :] if match else b""
    return Container("GIF", screen + control + image)


def _after_gif_blocks(data: bytes, position: int) -> int:
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1


def _open_webp(data: bytes) -> Container:
    exif = b""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    return Container("WEBP", data, read_orientation(exif), _webp_canvas(data))


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Reads the size from the first chunk, because the decoder takes its memory as soon as Pillow opens the file."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X" and len(body) == 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) == 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise InvalidImage(ENCODED_FIELD, "the WebP file is cut short or damaged at its start: send the whole file")
