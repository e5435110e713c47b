"""Parses the header of a BMP file. Decodes nothing itself."""

import struct

from linnaeus.server.decoding.bmp_masks import MaskedPixels
from linnaeus.server.decoding.container import ENCODED_FIELD, Container
from linnaeus.server.errors import InvalidImage

_HEADER = struct.Struct("<IiiHHI")  # its size, width, height, planes, bits, compression
_START = 14
_COLOURS = slice(46, 50)
_HAS_MASKS = (52, 56, 108, 124)
_HAS_ALPHA_MASK = (56, 108, 124)
_HONOURS_ALPHA_WITHOUT_MASKS = (108, 124)
_UNCOMPRESSED, _RUN_LENGTH, _MASKS, _MASKS_WITH_ALPHA = 0, (1, 2), 3, 6
_DEFAULT_MASKS = (0xFF0000, 0xFF00, 0xFF)


def open_bmp(data: bytes) -> Container:
    """Returns a BMP with its size, and with its masks if it has any.

    Raises:
        InvalidImage: if the file is run-length compressed, has masks that are no masks, or is cut within its header.
    """
    if data[14:15] == b"\x0c":  # OS/2's header, without compression and masks
        return Container("BMP", data)
    if len(data) < _START + _HEADER.size:
        raise InvalidImage(ENCODED_FIELD, "the BMP file is cut short within its header: send the whole file")
    size, width, height, _, bits, compression = _HEADER.unpack_from(data, _START)
    if compression in _RUN_LENGTH:
        # Pillow decodes these in Python, byte by byte: one kilobyte that declares 50 megapixels takes seconds.
        raise InvalidImage(ENCODED_FIELD, "the BMP file is run-length compressed: save it uncompressed, or as PNG")
    canvas = (abs(width), abs(height))
    masks = _masks(data, size, bits, compression)
    if masks is None:
        return Container("BMP", _with_possible_palette(data, bits), canvas=canvas)
    after = _START + size + (0 if size in _HAS_MASKS else 12 if compression == _MASKS else 16)
    offset = int.from_bytes(data[10:14], "little") or after
    pixels = MaskedPixels(offset, width, abs(height), height < 0, bits, masks)
    return Container("BMP", data, canvas=canvas, masked=pixels)


def _masks(data: bytes, size: int, bits: int, compression: int) -> tuple[int, int, int, int] | None:
    """Returns the masks of red, green, blue and alpha; None if Pillow decodes the pixels without any."""
    stored = struct.unpack_from("<4I", data, _START + 40) if len(data) >= _START + 56 else (0, 0, 0, 0)
    red, green, blue, alpha = stored
    if bits == 32 and compression == _UNCOMPRESSED and size in _HONOURS_ALPHA_WITHOUT_MASKS and alpha:
        return *_DEFAULT_MASKS, alpha
    if bits not in (16, 32) or compression not in (_MASKS, _MASKS_WITH_ALPHA) or size not in (40, *_HAS_MASKS):
        return None
    return red, green, blue, alpha if size in _HAS_ALPHA_MASK or compression == _MASKS_WITH_ALPHA else 0


def _with_possible_palette(data: bytes, bits: int) -> bytes:
    """Lets the depth tell the number of colours, if the header has an impossible one; Pillow would read them all."""
    colours = int.from_bytes(data[_COLOURS], "little")
    return data if bits > 8 or colours <= 1 << bits else data[: _COLOURS.start] + bytes(4) + data[_COLOURS.stop :]
