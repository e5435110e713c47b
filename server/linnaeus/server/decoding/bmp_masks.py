"""Unpacks a BMP whose 16 or 32 bit pixels are divided by bit masks, with transparency as most programs show it.

Pillow knows a few masks only, ignores the alpha of 16 bit pixels, and shows a file whose alpha bytes are all zero, as
screenshots and clipboards write them, as nothing; elsewhere they are pictures.
"""

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from PIL import Image

# Rows are unpacked in groups of about this many pixels, so that no array of wide integers has the image's size.
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True)
class MaskedPixels:
    """Where the pixels of a BMP are, and which of their bits are red, green, blue and alpha.

    Attributes:
        offset: of the first stored row in the file, in bytes.
        width: in pixels.
        height: in pixels.
        top_down: whether the first stored row is the uppermost.
        bits: of a pixel, 16 or 32.
        masks: of red, green, blue and alpha; a colour without bits is black, alpha without bits is opaque.
    """

    offset: int
    width: int
    height: int
    top_down: bool
    bits: int
    masks: tuple[int, int, int, int]

    @property
    def row_bytes(self) -> int:
        """Length of a stored row, which is padded to four bytes."""
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def end(self) -> int:
        """Offset of the first byte after the pixels."""
        return self.offset + self.row_bytes * self.height

    @property
    def valid(self) -> bool:
        """Whether each mask is one row of bits and no two masks share a bit."""
        masks = [mask & (1 << self.bits) - 1 for mask in self.masks]
        runs = [mask // (mask & -mask) + 1 for mask in masks if mask]
        return all(run & (run - 1) == 0 for run in runs) and sum(masks) == numpy.bitwise_or.reduce(masks)


def unpack(data: bytes, pixels: MaskedPixels) -> Image.Image:
    """Returns an RGBA image, or an RGBX image if no pixel has any alpha.

    Args:
        data: the file; at least `pixels.end` bytes.
        pixels: valid masks, a width and a height above zero.
    """
    sample = numpy.dtype(f"<u{pixels.bits // 8}")
    rows = numpy.frombuffer(data, numpy.uint8, pixels.row_bytes * pixels.height, pixels.offset)
    samples = rows.reshape(pixels.height, pixels.row_bytes).view(sample)[:, : pixels.width]
    if not pixels.top_down:
        samples = samples[::-1]
    result = numpy.empty((pixels.height, pixels.width, 4), numpy.uint8)
    step = max(1, _STRIP_PIXELS // pixels.width)
    for top in range(0, pixels.height, step):
        for channel, mask in enumerate(pixels.masks):
            result[top : top + step, :, channel] = _channel(samples[top : top + step], mask & (1 << pixels.bits) - 1)
    mode = "RGBA" if result[:, :, 3].any() else "RGBX"
    return Image.frombuffer(mode, (pixels.width, pixels.height), result, "raw", mode, 0, 1)


def _channel(samples: NDArray[numpy.unsignedinteger], mask: int) -> NDArray[numpy.uint8] | int:
    """Returns the bits of a mask, scaled to 8 bits; longer ones are cut."""
    if not mask:
        return 0
    shift, largest = (mask & -mask).bit_length() - 1, mask // (mask & -mask)
    values = (samples & mask) >> shift
    if largest < 255:
        scale: NDArray[numpy.uint8] = numpy.round(numpy.arange(largest + 1) * 255 / largest).astype(numpy.uint8)
        scaled: NDArray[numpy.uint8] = scale[values]
        return scaled
    return (values >> largest.bit_length() - 8).astype(numpy.uint8)
