"""Makes mutants of files: the same seed and number give the same bytes on every machine."""

import random
import struct
import zlib
from collections.abc import Callable, Sequence

EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_MARKERS = (0xC0, 0xC2, 0xC4, 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE)
_PNG_KINDS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"zTXt", b"iCCP")
_WEBP_KINDS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"ICCP", b"XMP ")


def mutant(files: Sequence[bytes], seed: int, number: int) -> bytes:
    """Returns one mutant of one of the files."""
    source = random.Random(f"{seed}:{number}")
    data = bytearray(source.choice(files))
    for _ in range(source.choice([1, 1, 1, 2, 3, 8])):
        source.choice(_MUTATIONS)(data, source)
        if len(data) < 16:
            break
    # Half of the PNGs get their checksums back, so that Pillow reads what was altered.
    return _with_checksums(bytes(data)) if data.startswith(_PNG) and source.random() < 0.5 else bytes(data)


def _place(data: bytearray, source: random.Random) -> int:
    """Returns an offset; headers are hit as often as all the rest."""
    return source.randrange(min(len(data), source.choice([40, 200, len(data)])))


def _flip(data: bytearray, source: random.Random) -> None:
    for _ in range(source.choice([1, 1, 4, 30])):
        data[_place(data, source)] ^= 1 << source.randrange(8)


def _cut_end(data: bytearray, source: random.Random) -> None:
    del data[-source.choice([1, 2, 10, source.randrange(1, len(data))]) :]


def _delete(data: bytearray, source: random.Random) -> None:
    place = _place(data, source)
    del data[place : place + source.choice([1, 2, 4, 8, 100])]


def _duplicate(data: bytearray, source: random.Random) -> None:
    start = _place(data, source)
    span = data[start : start + source.choice([1, 8, 30, 300])]
    data[start:start] = span * source.choice([1, 1, 2, 200])


def _copy_over(data: bytearray, source: random.Random) -> None:
    start, target = _place(data, source), _place(data, source)
    span = data[start : start + source.choice([2, 8, 60])]
    data[target : target + len(span)] = span


def _insert_noise(data: bytearray, source: random.Random) -> None:
    place = _place(data, source)
    data[place:place] = source.choice([source.randbytes, bytes])(source.choice([1, 4, 50, 3000]))


def _set_extreme(data: bytearray, source: random.Random) -> None:
    """Writes a number at the edge of its range, as a header field of any width and byte order."""
    width, place = source.choice([1, 2, 2, 4, 4]), _place(data, source)
    value = source.choice(EXTREMES) & (1 << 8 * width) - 1
    data[place : place + width] = value.to_bytes(width, source.choice(["big", "little"]))


def _insert_part(data: bytearray, source: random.Random) -> None:
    """Inserts a segment, chunk or extension of the file's format, at the edge of another where that is easy."""
    body = source.randbytes(source.choice([0, 1, 4, 13, 26, 300]))
    if data.startswith(b"\xff\xd8"):
        part = struct.pack(">BBH", 0xFF, source.choice(_JPEG_MARKERS), len(body) + 2) + body
        place = _find(data, b"\xff", 2, source)
    elif data.startswith(_PNG):
        kind = source.choice(_PNG_KINDS)
        part = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        place = source.choice([8, 33, max(0, data.find(b"IDAT") - 4), len(data) - 12])
    elif data.startswith(b"RIFF"):
        part = source.choice(_WEBP_KINDS) + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        place = source.choice([12, 30, len(data)])
    else:
        part = b"!" + source.choice([b"\xf9", b"\xfe", b"\xff"]) + bytes([len(body) & 255]) + body + b"\0"
        place = _find(data, b",", 13, source)
    data[place:place] = part * source.choice([1, 1, 1, 300])


def _find(data: bytearray, mark: bytes, start: int, source: random.Random) -> int:
    places = [place for place in range(start, min(len(data), 4000)) if data[place : place + 1] == mark]
    return source.choice(places or [start])


_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _cut_end,
    _delete,
    _duplicate,
    _copy_over,
    _insert_noise,
    _set_extreme,
    _set_extreme,
    _insert_part,
)


def _with_checksums(data: bytes) -> bytes:
    parts, position = [data[:8]], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        chunk = data[position:end]
        parts.append(chunk + struct.pack(">I", zlib.crc32(chunk[4:])))
        position = end + 4
    return b"".join([*parts, data[position:]])
