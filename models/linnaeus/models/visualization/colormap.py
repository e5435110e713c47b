"""The colormap of all drawings, viridis."""

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor

# viridis (van der Walt and Smith, 2015, public domain): every 17th of its 256 colors
_VIRIDIS = (
    "#440154",
    "#481a6c",
    "#472f7d",
    "#414487",
    "#39568c",
    "#31688e",
    "#2a788e",
    "#23888e",
    "#1f988b",
    "#22a884",
    "#35b779",
    "#54c568",
    "#7ad151",
    "#a5db36",
    "#d2e21b",
    "#fde725",
)
# Palette index of the transparent gap between tiles; the colors are 0 to 254.
GAP_INDEX = 255
_LEVELS = 255
# Percentiles and not minimum and maximum: a few extreme channels would leave all others dark.
_LOW, _HIGH = 0.01, 0.99


def value_range(values: Tensor) -> tuple[float, float]:
    """Returns the 1st and 99th percentile of the values, at which the colormap begins and ends."""
    ordered = values.flatten().sort().values
    last = len(ordered) - 1
    return float(ordered[round(_LOW * last)]), float(ordered[round(_HIGH * last)])


def palette() -> NDArray[numpy.uint8]:
    """Returns the colormap as RGB, uint8 [255, 3], from low to high."""
    anchors = numpy.array([ImageColor.getrgb(color) for color in _VIRIDIS], dtype=numpy.float64)
    positions = numpy.linspace(0, len(anchors) - 1, _LEVELS)
    channels = [numpy.interp(positions, numpy.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return numpy.stack(channels, axis=1).round().astype(numpy.uint8)


def colormap_indices(values: Tensor, low: float, high: float) -> NDArray[numpy.uint8]:
    """Maps values to colormap indices, uint8 of the same shape; values outside `low` to `high` are clamped."""
    span = high - low
    scaled = (values - low) / span if span > 0 else torch.zeros_like(values)
    return (scaled.clamp(0, 1) * (_LEVELS - 1)).round().to(torch.uint8).numpy()


def indexed_image(indices: NDArray[numpy.uint8]) -> Image.Image:
    """Returns colormap indices [H, W] as an image with a palette, transparent at `GAP_INDEX`."""
    image = Image.fromarray(indices)
    image.putpalette([*palette().flatten().tolist(), 0, 0, 0])
    image.info["transparency"] = GAP_INDEX
    return image
