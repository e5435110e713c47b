"""Converts any Pillow image to opaque 8-bit grey or RGB; transparent pixels are composited over white.

Owns the handling of Pillow's modes; must not know files, sizes or models. Colour profiles are not applied, as in the
usual training pipelines. CMYK needs no special case: like other decoders, Pillow reads JPEG's CMYK as Adobe writes it
(inverted).
"""

import numpy
from PIL import Image, ImageFile

# Factors that scale 2 and 4 bit grey samples to 8 bits.
_GREY_STEPS = {"L;2": 85, "L;4": 17}
_MOST_PALETTE_COLOURS = 256


def fix_transparency(image: ImageFile.ImageFile) -> None:
    """Scales a PNG's transparent colour to 8 bits; Pillow scales the samples but not this colour.

    A transparency of more colours than a palette can have is dropped, as libpng does it; Pillow fails on it later.

    Must be called after the header is read and before the pixels are decoded, while the file's sample format is known.
    """
    colour = image.info.get("transparency")
    if colour is None or image.format != "PNG" or not image.tile:
        return
    entries = len(colour) if isinstance(colour, bytes) else colour + 1 if image.mode == "P" else 0
    if entries > _MOST_PALETTE_COLOURS:
        del image.info["transparency"]
        return
    sample_format = image.tile[0][3]
    if sample_format == "RGB;16B":
        image.info["transparency"] = tuple(sample >> 8 for sample in colour)
    elif sample_format in _GREY_STEPS:
        image.info["transparency"] = colour * _GREY_STEPS[sample_format]


def convert_colour(image: Image.Image, mode: str) -> Image.Image:
    """Returns the image in `mode` (L or RGB), composited over white; returns `image` itself if nothing is to do."""
    if image.mode.startswith("I;16"):
        image = _eight_bit_grey(image)
    elif image.has_transparency_data:
        image = _over_white(image)
    return image if image.mode == mode else image.convert(mode)


def place_on_white(frame: Image.Image, canvas: tuple[int, int], place: tuple[int, int]) -> Image.Image:
    """Returns an RGB image of the canvas's size that is white where the frame does not cover it.

    Args:
        frame: of any mode, its pixels decoded.
        canvas: width and height in pixels.
        place: left and top of the frame.
    """
    whole = Image.new("RGB", canvas, "white")
    whole.paste(convert_colour(frame, "RGB"), place)
    return whole


def _over_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    composite = Image.new("RGB", image.size, "white")
    composite.paste(rgba, mask=rgba)
    return composite


def _eight_bit_grey(image: Image.Image) -> Image.Image:
    """Scales 16-bit grey by 255/65535 = 1/257, rounded; Pillow's conversion would clip it."""
    samples = numpy.asarray(image)
    grey = ((samples.astype(numpy.uint32) + 128) // 257).astype(numpy.uint8)
    if "transparency" in image.info:
        grey[samples == image.info["transparency"]] = 255
    return Image.fromarray(grey)
