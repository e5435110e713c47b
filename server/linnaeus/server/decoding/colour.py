"""Brings any picture Pillow can read to opaque 8-bit grey or RGB, as a viewer on white paper would see it.

Knows Pillow's modes; nothing of files, sizes or models. Colour profiles are not applied, as in the usual training
pipelines. CMYK needs no care here: Pillow reads JPEG's as Adobe writes it (inverted), like other decoders do.
"""

import numpy
from PIL import Image, ImageFile

# What 2 and 4 bit grey samples are multiplied by to fill 8 bits.
_GREY_STEPS = {"L;2": 85, "L;4": 17}


def fix_transparency(image: ImageFile.ImageFile) -> None:
    """Brings a PNG's transparent colour to 8 bits, as Pillow does with the samples, but not with that colour.

    Must be called after the header is read and before the pixels are: only then is the file's sample format known.
    """
    colour = image.info.get("transparency")
    if colour is None or image.format != "PNG" or not image.tile:
        return
    sample_format = image.tile[0][3]
    if sample_format == "RGB;16B":
        image.info["transparency"] = tuple(sample >> 8 for sample in colour)
    elif sample_format in _GREY_STEPS:
        image.info["transparency"] = colour * _GREY_STEPS[sample_format]


def convert_colour(image: Image.Image, mode: str) -> Image.Image:
    """Returns the picture in `mode`, L or RGB, laid over white where it is not opaque; itself, if it is so already."""
    if image.mode.startswith("I;16"):
        image = _eight_bit_grey(image)
    elif image.has_transparency_data:
        image = _over_white(image)
    return image if image.mode == mode else image.convert(mode)


def _over_white(image: Image.Image) -> Image.Image:
    seen = image.convert("RGBA")
    paper = Image.new("RGB", image.size, "white")
    paper.paste(seen, mask=seen)
    return paper


def _eight_bit_grey(image: Image.Image) -> Image.Image:
    """Scales 16-bit grey by 255/65535 = 1/257, rounded; Pillow's own conversion would clip it."""
    samples = numpy.asarray(image)
    grey = ((samples.astype(numpy.uint32) + 128) // 257).astype(numpy.uint8)
    if "transparency" in image.info:
        grey[samples == image.info["transparency"]] = 255
    return Image.fromarray(grey)
