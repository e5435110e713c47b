"""The colormap: numbers to colors."""

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor

# viridis (van der Walt and Smith, 2015, public domain), every seventeenth of its 256 colours
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
# The last palette entry is the transparent gap between tiles.
GAP_INDEX = 255
_LEVELS = 255
# A few channels may be far above all others; they would leave the rest dark.
_LOW, _HIGH = 0.01, 0.99


def value_range(values: Tensor) -> tuple[float, float]:
    """The 1st and 99th percentile: where the colour map begins and ends for these values."""
    ordered = values.flatten().sort().values
    last = len(ordered) - 1
    return float(ordered[round(_LOW * last)]), float(ordered[round(_HIGH * last)])


def palette() -> NDArray[numpy.uint8]:
    """The colour map as uint8 [255, 3], RGB, from low to high."""
    anchors = numpy.array([ImageColor.getrgb(colour) for colour in _VIRIDIS], dtype=numpy.float64)
    places = numpy.linspace(0, len(anchors) - 1, _LEVELS)
    channels = [numpy.interp(places, numpy.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return numpy.stack(channels, axis=1).round().astype(numpy.uint8)


def colormap_indices(values: Tensor, low: float, high: float) -> NDArray[numpy.uint8]:
    """Places in the colour map, uint8 of the values' shape; what lies outside `low` to `high` gets the end's colour."""
    span = high - low
    scaled = (values - low) / span if span > 0 else torch.zeros_like(values)
    return (scaled.clamp(0, 1) * (_LEVELS - 1)).round().to(torch.uint8).numpy()


def indexed_image(places: NDArray[numpy.uint8]) -> Image.Image:
    """Places in the colour map [H, W] as a picture with a palette, transparent in the gaps."""
    picture = Image.fromarray(places)
    picture.putpalette([*palette().flatten().tolist(), 0, 0, 0])
    picture.info["transparency"] = GAP_INDEX
    return picture
