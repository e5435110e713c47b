"""Draws the Grad-CAM heat map over its image."""

import numpy
from PIL import Image

from linnaeus.models.visualization.colormap import palette
from linnaeus.models.visualization.image_analysis import ImageAnalysis

IMAGE_SIDE = 336
_MAX_OPACITY = 0.75


def draw_heat_map(analysis: ImageAnalysis) -> Image.Image:
    """The heat map over the picture: what spoke for the class keeps its light and takes the colour map's colours."""
    grey = numpy.asarray(analysis.image.convert("L").convert("RGB"), dtype=numpy.float64)
    heat = analysis.heat_map.values.numpy().astype(numpy.float64)
    colors = palette()[(heat * 254).round().astype(int)].astype(numpy.float64)
    share = (_MAX_OPACITY * heat.clip(0, 1) ** 0.7)[..., None]
    mixed = (1 - share) * grey * (0.45 + 0.55 * heat[..., None]) + share * colors
    return enlarge(Image.fromarray(mixed.round().clip(0, 255).astype(numpy.uint8)))


def enlarge(picture: Image.Image) -> Image.Image:
    """The picture at a size to look at, the same for every model; the pixels of a small one stay sharp."""
    times = IMAGE_SIDE / max(picture.size)
    smooth = Image.Resampling.NEAREST if times > 4 else Image.Resampling.BICUBIC
    return picture.resize((round(picture.width * times), round(picture.height * times)), smooth)
