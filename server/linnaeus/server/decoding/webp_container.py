"""Parses a WebP file: returns the chunks of its first picture. Decodes nothing itself.

Browsers do not apply a WebP's orientation; it is applied here, as it is for the other formats that carry one.
"""

import struct
from collections.abc import Iterator

from linnaeus.server.decoding.container import ENCODED_FIELD, Container, too_many
from linnaeus.server.decoding.exif_orientation import UPRIGHT, read_orientation
from linnaeus.server.errors import InvalidImage

MAX_CHUNKS = 20_000  # an animation has a chunk for each frame

_ANIMATED, _ALPHA = 0x02, 0x10
_PICTURE = (b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF")


def is_webp(data: bytes) -> bool:
    """Returns whether the first bytes are those of a WebP file."""
    return data.startswith(b"RIFF") and data.startswith(b"WEBP", 8)


def open_webp(data: bytes) -> Container:
    """Returns the first picture with its canvas, whose size Pillow would read only after it has allocated memory.

    Raises:
        InvalidImage: if the file has no size, is shorter than it says, or has more than `MAX_CHUNKS` chunks.
    """
    canvas = _canvas(data)
    if int.from_bytes(data[4:8], "little") + 8 > len(data):  # browsers show nothing, though the first frame is whole
        raise _cut_short()
    if data[12:16] != b"VP8X":
        length = int.from_bytes(data[16:20], "little")
        return Container("WEBP", _riff(data[12 : 20 + length + length % 2]), canvas=canvas)
    picture: list[bytes] = []
    exif, animated = b"", bool(data[20] & _ANIMATED)
    for kind, start, end in _chunks(data):
        if kind == b"EXIF" and not exif:
            exif = data[start + 8 : end]
        elif kind in _PICTURE and (not picture or picture[-1][:4] in (b"ALPH", b"ANIM")):
            picture.append(data[start : end + (end - start) % 2])
    # Without the flag for alpha Pillow would show the canvas around a small first frame black.
    flags = bytes([data[20] & (_ANIMATED | _ALPHA) | (_ALPHA if animated else 0)])
    extended = data[12:20] + flags + data[21:30]
    orientation = read_orientation(exif.removeprefix(b"Exif\0\0")) if exif else UPRIGHT
    return Container("WEBP", _riff(extended, *picture), orientation, canvas)


def _riff(*chunks: bytes) -> bytes:
    body = b"".join((b"WEBP", *chunks))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields kind, start and end of each chunk after the first, which are padded to an even length."""
    position = 30
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, position, position + 8 + length
        position += 8 + length + length % 2
    raise too_many("WebP", MAX_CHUNKS, "chunks")


def _canvas(data: bytes) -> tuple[int, int]:
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X" and len(body) == 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) == 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise _cut_short()


def _cut_short() -> InvalidImage:
    return InvalidImage(ENCODED_FIELD, "the WebP file is cut short or damaged: send the whole file")
