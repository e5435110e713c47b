"""Draws numbers as colours: one grid of tiles for a feature map, one colour map for everything."""

import math

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor
from torch.nn import functional

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
_GAP_INDEX = 255
_LEVELS = 255
_MAX_WIDTH = 1160
_MAX_TILE_SIDE = 144
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
    picture.info["transparency"] = _GAP_INDEX
    return picture


def draw_feature_map_grid(values: Tensor) -> Image.Image:
    """Every channel of [C, H, W] as a tile, in order, row by row; at most about 1,200 pixels wide."""
    low, high = value_range(values)
    columns, side = _layout(len(values))
    tiles = colormap_indices(_scale_to_tile(values, side), low, high)
    height, width = tiles.shape[1:]
    gap = max(1, side // 24)
    rows = -(-len(tiles) // columns)
    grid = numpy.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap), fill_value=_GAP_INDEX, dtype=numpy.uint8
    )
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        grid[top : top + height, left : left + width] = tile
    return indexed_image(grid)


def _layout(channels: int) -> tuple[int, int]:
    """Columns, and the side that a tile may have: wider than high, as screens are."""
    columns = min(channels, math.ceil(math.sqrt(channels * 1.6)))
    return columns, min(_MAX_TILE_SIDE, _MAX_WIDTH // columns - max(1, _MAX_WIDTH // columns // 24))


def _scale_to_tile(values: Tensor, side: int) -> Tensor:
    """Channels [C, H, W] at the largest whole multiple of their size within `side`, or averaged down to it."""
    longer = max(values.shape[1:])
    if longer <= side:
        times = side // longer
        return values.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
    height, width = (max(1, round(length * side / longer)) for length in values.shape[1:])
    return functional.adaptive_avg_pool2d(values[None], (height, width))[0]
