"""Cuts an image to the part that a crop keeps and averages boxes of a far too large one, in the model's colours.

Works strip by strip: of a large image no second copy is made in other colours, and a strip stays in the processor's
cache. The pixels are those of Pillow's `resize` with `reducing_gap` of the whole image in these colours.
"""

import math

from PIL import Image

from linnaeus.server.decoding.colour import convert_colour

# An image at least twice this many times too large is first box-averaged to at least this many times the needed
# pixels: six times faster at 12 megapixels, with a mean difference of 0.2 levels. A JPEG decoded at a fraction is
# never that large.
REDUCING_GAP = 3.0

_STRIP_PIXELS = 1 << 20
# Pixels of the result around its edge that a filter needs; Pillow has the boxes begin at half a pixel less.
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
Box = tuple[float, float, float, float]


def shrink(
    image: Image.Image, mode: str, box: Box, size: tuple[int, int], interpolation: str
) -> tuple[Image.Image, Box]:
    """Returns what a resize of a part of an image needs, at most about six times too large.

    Args:
        image: the image with its pixels, of any mode.
        mode: of the result, `L` or `RGB`; transparent pixels are composited over white.
        box: left, top, right and bottom of the part, in pixels of the image.
        size: width and height in pixels to which the part is to be resized.
        interpolation: `bilinear` or `bicubic`, by which it is to be resized.

    Returns:
        The smaller image, and the box in its pixels.
    """
    x_scale, y_scale = (box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]
    x_factor, y_factor = int(x_scale / REDUCING_GAP) or 1, int(y_scale / REDUCING_GAP) or 1
    support = _SUPPORT[interpolation] - (0.5 if max(x_factor, y_factor) > 1 else 0)
    # Where an image is enlarged, the filter still needs its whole neighbours.
    x_reach, y_reach = support * max(x_scale, 1.0), support * max(y_scale, 1.0)
    left, top = max(0, int(box[0] - x_reach)), max(0, int(box[1] - y_reach))
    right, bottom = min(image.width, math.ceil(box[2] + x_reach)), min(image.height, math.ceil(box[3] + y_reach))
    small = _average(image, mode, (left, top, right, bottom), (x_factor, y_factor))
    x_start, x_end = ((side - left) / x_factor for side in box[::2])
    y_start, y_end = ((side - top) / y_factor for side in box[1::2])
    return small, (x_start, y_start, x_end, y_end)


def _average(image: Image.Image, mode: str, part: tuple[int, int, int, int], factor: tuple[int, int]) -> Image.Image:
    """Returns the means of boxes of factor[0] x factor[1] pixels, of fewer at the right and lower edge."""
    left, top, right, bottom = part
    if factor == (1, 1):
        return convert_colour(image if part == (0, 0, *image.size) else image.crop(part), mode)
    if image.mode == mode and not image.has_transparency_data:
        return image.reduce(factor, part)
    small = Image.new(mode, (-(-(right - left) // factor[0]), -(-(bottom - top) // factor[1])))
    rows = max(1, _STRIP_PIXELS // ((right - left) * factor[1])) * factor[1]
    for start in range(top, bottom, rows):
        strip = convert_colour(image.crop((left, start, right, min(bottom, start + rows))), mode)
        small.paste(strip.reduce(factor), (0, (start - top) // factor[1]))
    return small
