"""Which way up a picture is: reads the EXIF tag, knows what it does to the axes, and nothing of files or pixels.

Pillow's own reader is not used, because it warns about broken EXIF; here broken EXIF means "as stored".
"""

import struct

from PIL import Image

UPRIGHT = 1
_TAG = 0x0112
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_LONG = 4  # the tag's type should be SHORT; some cameras write LONG
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
    """Returns the orientation, 1 (upright) to 8, of an EXIF block; 1 if it has none or is broken.

    Args:
        exif: a TIFF header with its directories, with or without `Exif` and two zero bytes before it; may be empty.
    """
    try:
        value = _first_directory_value(exif.removeprefix(b"Exif\0\0"))
    except (struct.error, KeyError):
        return UPRIGHT
    return value if value in _TURNS else UPRIGHT


def swaps_axes(orientation: int) -> bool:
    """Whether the stored width is the upright height."""
    return orientation >= 5


def mirrors_x(orientation: int) -> bool:
    """Whether the stored x axis runs against the upright axis that it becomes."""
    return orientation in (2, 3, 7, 8)


def mirrors_y(orientation: int) -> bool:
    """Whether the stored y axis runs against the upright axis that it becomes."""
    return orientation in (3, 4, 6, 7)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Returns the stored picture as it should be seen."""
    return image if orientation == UPRIGHT else image.transpose(_TURNS[orientation])


def _first_directory_value(tiff: bytes) -> int | None:
    order = _BYTE_ORDERS[tiff[:4]]
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if tag == _TAG:
            (value,) = struct.unpack_from(order + ("I" if kind == _LONG else "H"), tiff, entry + 8)
            return int(value)
    return None
