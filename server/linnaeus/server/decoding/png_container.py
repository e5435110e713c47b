"""Parses a PNG file: returns the chunks that make the picture a browser shows first. Decodes nothing itself.

That is the picture of the IDAT chunks. Only an animated PNG may leave it out of its animation; then it is the first
frame of the animation, which may cover a part of the canvas.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from linnaeus.server.decoding.container import Container, too_many
from linnaeus.server.decoding.exif_orientation import UPRIGHT, read_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Encoders write chunks of 8 KB and more; 32 MB have 4096 of these.
MAX_CHUNKS = 20_000

_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_PIXELS_START = len(SIGNATURE) + 25  # where the chunk after the header begins
_HEADERS = (b"IHDR", b"PLTE", b"tRNS")
_FRAME = struct.Struct(">4x4I")  # sequence number, width, height, left, top


@dataclass(slots=True)
class _Parts:
    """What is kept of a file; of chunks that may stand once only, the first."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    exif: bytes = b""
    animated: bool = False
    frame: bytes = b""
    still: list[bytes] = field(default_factory=list)
    moving: list[bytes] = field(default_factory=list)


def open_png(data: bytes) -> Container:
    """Returns a PNG without metadata, but for its orientation.

    Raises:
        InvalidImage: if the file has more than `MAX_CHUNKS` chunks.
    """
    if (plain := _plain(data)) is not None:
        return Container("PNG", plain)
    parts = _read_parts(data)
    orientation = read_orientation(parts.exif) if parts.exif else UPRIGHT
    if parts.moving and (placed := _frame_header(parts)) is not None:
        header, canvas, place = placed
        return Container("PNG", _join({**parts.headers, b"IHDR": header}, parts.moving), orientation, canvas, place)
    return Container("PNG", _join(parts.headers, parts.still), orientation)


def _plain(data: bytes) -> bytes | None:
    """Returns a file that is a header and one chunk of pixels without what follows them, as most small files are."""
    if (
        len(data) < _PIXELS_START + 8
        or data[12:16] != b"IHDR"
        or data[_PIXELS_START + 4 : _PIXELS_START + 8] != b"IDAT"
    ):
        return None
    end = _PIXELS_START + 12 + int.from_bytes(data[_PIXELS_START : _PIXELS_START + 4], "big")
    return data[:end] + _END if data[end + 4 : end + 8] == b"IEND" else None


def _read_parts(data: bytes) -> _Parts:
    """Reads chunks up to the end of the picture that is shown first."""
    parts = _Parts()
    for kind, start, end in _chunks(data):
        if kind == b"IDAT" and not parts.moving:
            parts.still.append(data[start + 8 : end - 4])
        elif parts.still and (not parts.animated or parts.moving and kind != b"fdAT"):
            break
        elif kind == b"fdAT" and parts.frame:
            parts.moving.append(data[start + 12 : end - 4])
        elif kind == b"fcTL" and not parts.frame:
            parts.animated = bool(parts.still)  # before the pixels it makes them the first frame
            parts.frame = data[start + 8 : end - 4]
        elif not parts.still:
            _read_header(parts, kind, data[start:end])
    return parts


def _read_header(parts: _Parts, kind: bytes, chunk: bytes) -> None:
    if kind in _HEADERS:
        parts.headers.setdefault(kind, chunk)
    elif kind == b"acTL":
        parts.animated = True
    elif kind == b"eXIf" and not parts.exif and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big"):
        parts.exif = chunk[8:-4]


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields each chunk's kind, start and end, which may lie beyond the end of a file that is cut short."""
    position = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position, position + 12 + length
        position += 12 + length
    raise too_many("PNG", MAX_CHUNKS, "chunks")


def _frame_header(parts: _Parts) -> tuple[bytes, tuple[int, int], tuple[int, int] | None] | None:
    """Returns the header chunk of the animation's first frame, the canvas and the place; None if it does not fit."""
    header = parts.headers.get(b"IHDR", b"")
    if len(header) != 25 or len(parts.frame) < _FRAME.size:
        return None
    width, height, left, top = _FRAME.unpack_from(parts.frame)
    canvas = struct.unpack_from(">II", header, 8)
    if left + width > canvas[0] or top + height > canvas[1]:
        return None
    body = b"IHDR" + struct.pack(">II", width, height) + header[16:21]
    chunk = header[:4] + body + struct.pack(">I", zlib.crc32(body))
    return chunk, canvas, None if (width, height) == canvas else (left, top)


def _join(headers: dict[bytes, bytes], pixels: list[bytes]) -> bytes:
    """Returns a file with all pixels in one chunk, because Pillow goes from chunk to chunk in Python."""
    body = b"".join(pixels)
    start = [SIGNATURE, *(headers[kind] for kind in _HEADERS if kind in headers)]
    # Pillow does not read the checksum of IDAT.
    return b"".join([*start, struct.pack(">I", len(body)), b"IDAT", body, bytes(4), _END])
