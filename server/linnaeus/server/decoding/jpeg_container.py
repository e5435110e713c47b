"""Parses a JPEG file up to its pixels, and bounds the scans that Pillow would decode. Decodes nothing itself."""

import re
from collections.abc import Iterator

import numpy
from numpy.typing import NDArray

from linnaeus.server.decoding.container import ENCODED_FIELD, Container, too_many
from linnaeus.server.decoding.exif_orientation import UPRIGHT, read_orientation
from linnaeus.server.errors import InvalidImage

# Encoders write about ten scans. Each scan costs a pass over all coefficients, whatever its length: a scan of 31 bytes
# takes 6 ms of a core at 16 megapixels, so a file of one megabyte would take minutes. Browsers stop at 100, too.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 1_000_000_000  # scans times pixels, half a second of a core: 20 scans of 50 megapixels

# Before the pixels, a large photograph has about forty segments (a 2 MB depth map in parts of 64 KB); a phone's tables
# take 1 KB. Pillow spends 10 µs on each 65 bytes of quantization tables.
MAX_SEGMENTS = 2000
MAX_TABLE_BYTES = 1 << 16
_MAX_GAP_BYTES = 1 << 16  # of padding before a marker

_START_OF_SCAN, _END, _APP0, _APP1 = 0xDA, 0xD9, 0xE0, 0xE1
# Every marker except those within a scan's data (stuffing, restart) and reserved ones.
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_IS_MARKER = numpy.zeros(256, bool)
_IS_MARKER[[*range(0x02, 0xD0), *range(0xD9, 0xFF)]] = True
# Frames, tables, restart interval and Adobe's segment, which defines the colour coding; JFIF's, which does so, too, is
# kept without its thumbnail. 0xC8 is left out: no segment is defined for it, and Pillow would look for markers inside.
_FRAMES = frozenset([*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)])
_KEPT = _FRAMES | {0xC4, 0xCC, 0xDB, 0xDD, 0xEE}
_JFIF_BYTES = 18  # marker, length and header; what follows is a thumbnail
_JFIF_START = b"\xff\xe0\0\x10"


def open_jpeg(data: bytes) -> Container:
    """Returns a JPEG (or the first image of an MPO) without metadata, but for its orientation.

    Raises:
        InvalidImage: if the file has more segments, tables or scans than any encoder writes.
    """
    kept, kept_bytes, orientation, pixels = [data[:2]], 0, 0, 0
    for count, (marker, start, end) in enumerate(_segments(data, 2)):
        if count > MAX_SEGMENTS or kept_bytes > MAX_TABLE_BYTES:
            raise too_many("JPEG", MAX_SEGMENTS, f"segments, or {MAX_TABLE_BYTES} bytes of tables, before its pixels")
        if marker == _START_OF_SCAN:
            _check_scans(data, start, pixels)
            kept.append(data[start:])
            break
        if marker == _APP1 and not orientation and data.startswith(b"Exif\0", start + 4):
            orientation = read_orientation(data[start + 10 : end])
        if marker in _FRAMES:
            pixels = int.from_bytes(data[start + 5 : start + 7], "big") * int.from_bytes(
                data[start + 7 : start + 9], "big"
            )
        if marker in _KEPT:
            kept.append(data[start:end])
        elif marker == _APP0 and data.startswith(b"JFIF\0", start + 4) and end - start >= _JFIF_BYTES:
            kept.append(_JFIF_START + data[start + 4 : start + _JFIF_BYTES])
        kept_bytes += len(kept[-1])
    return Container("JPEG", b"".join(kept), orientation or UPRIGHT)


def _segments(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yields each segment's marker, start and end; skips bytes between segments and stops at an invalid length.

    Pillow reads an invalid length differently: after it, Pillow could find segments that this parser did not check.
    """
    while match := _MARKER.search(data, position, position + _MAX_GAP_BYTES):
        start = match.start()
        length = int.from_bytes(data[start + 2 : start + 4], "big")  # counts its own two bytes
        if length < 2:
            return
        position = start + 2 + length
        yield match[1][0], start, position


def _check_scans(data: bytes, start: int, pixels: int) -> None:
    allowed = min(MAX_SCANS, max(1, MAX_SCANNED_PIXELS // max(1, pixels)))
    # Counting marker bytes is fast but may count too many if other data (a video, for example) follows the image; only
    # then are the scans found one by one. numpy counts eight times as fast as bytes.count, without the GIL: 0.1 ms a
    # megabyte.
    following = numpy.frombuffer(data, numpy.uint8, offset=start)
    is_prefix = following[:-1] == 0xFF
    if numpy.count_nonzero(is_prefix & (following[1:] == _START_OF_SCAN)) <= allowed:
        return
    if _count_scans(following, numpy.flatnonzero(is_prefix & _IS_MARKER[following[1:]]), allowed) > allowed:
        raise InvalidImage(
            ENCODED_FIELD, f"the JPEG file has more than {allowed} scans: save it anew as an ordinary JPEG"
        )


def _count_scans(data: NDArray[numpy.uint8], markers: NDArray[numpy.intp], allowed: int) -> int:
    """Counts scans up to the end of the image; one more than `allowed` if there are more scans or segments.

    Args:
        data: bytes from the first scan on.
        markers: ascending offsets in `data` of everything that looks like a marker.
        allowed: largest number of scans.
    """
    scans, index = 0, 0
    for _ in range(MAX_SEGMENTS):
        if index >= len(markers) or data[markers[index] + 1] == _END:
            return scans
        offset = int(markers[index])
        scans += int(data[offset + 1] == _START_OF_SCAN)
        if scans > allowed:
            break
        length = int.from_bytes(data[offset + 2 : offset + 4].tobytes(), "big")
        index = int(numpy.searchsorted(markers, offset + 2 + max(2, length)))
    return allowed + 1
