"""Reads the EXIF orientation and applies it. Must not know file formats.

Pillow's reader is not used, because it warns about malformed EXIF; here malformed EXIF means "as stored". So does what
browsers ignore: an orientation that is not one SHORT.
"""

import struct

from PIL import Image

UPRIGHT = 1
_TAG = 0x0112
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SHORT = 3
_MAX_ENTRIES = 1000
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_orientation(exif: bytes) -> int:
    """Returns the orientation, 1 (upright) to 8, of an EXIF block; 1 if it has none or is malformed.

    Args:
        exif: a TIFF header and its directories; may be empty.
    """
    try:
        value = _first_directory_value(exif)
    except (struct.error, KeyError):
        return UPRIGHT
    return value if value in _TURNS else UPRIGHT


def swaps_axes(orientation: int) -> bool:
    """Returns whether the stored width is the upright height."""
    return orientation >= 5


def mirrors_x(orientation: int) -> bool:
    """Returns whether the stored x axis runs against the upright axis that it becomes."""
    return orientation in (2, 3, 7, 8)


def mirrors_y(orientation: int) -> bool:
    """Returns whether the stored y axis runs against the upright axis that it becomes."""
    return orientation in (3, 4, 6, 7)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Returns the stored image turned upright."""
    return image if orientation == UPRIGHT else image.transpose(_TURNS[orientation])


def _first_directory_value(tiff: bytes) -> int | None:
    order = _BYTE_ORDERS[tiff[:4]]
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, start + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        tag, kind, values, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == _TAG:
            return int(value) if (kind, values) == (_SHORT, 1) else None
    return None
