"""Draws the Grad-CAM heat map over the image."""

import numpy
from PIL import Image

from linnaeus.models.visualization.colormap import palette
from linnaeus.models.visualization.image_analysis import ImageAnalysis

IMAGE_SIDE = 336
_MAX_OPACITY = 0.75


def draw_heat_map(analysis: ImageAnalysis) -> Image.Image:
    """Draws the heat map over the gray image: evidence is shown in the colormap, the rest is darkened."""
    gray = numpy.asarray(analysis.image.convert("L").convert("RGB"), dtype=numpy.float64)
    evidence = analysis.heat_map.values.numpy().astype(numpy.float64)
    colors = palette()[(evidence * 254).round().astype(int)].astype(numpy.float64)
    opacity = (_MAX_OPACITY * evidence.clip(0, 1) ** 0.7)[..., None]
    mixed = (1 - opacity) * gray * (0.45 + 0.55 * evidence[..., None]) + opacity * colors
    return enlarge(Image.fromarray(mixed.round().clip(0, 255).astype(numpy.uint8)))


def enlarge(image: Image.Image) -> Image.Image:
    """Scales the longer side to `IMAGE_SIDE`; the pixels of a small image stay sharp."""
    scale = IMAGE_SIDE / max(image.size)
    resampling = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.BICUBIC
    return image.resize((round(image.width * scale), round(image.height * scale)), resampling)
