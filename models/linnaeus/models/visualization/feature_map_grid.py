"""Draws a feature map as a grid of tiles, one per channel."""

import math

import numpy
from PIL import Image
from torch import Tensor
from torch.nn import functional

from linnaeus.models.visualization.colormap import GAP_INDEX, colormap_indices, indexed_image, value_range

_MAX_WIDTH = 1160
_MAX_TILE_SIDE = 144


def draw_feature_map_grid(values: Tensor) -> Image.Image:
    """Draws every channel of [C, H, W] as a tile, row by row; the grid is at most about 1,200 pixels wide."""
    low, high = value_range(values)
    columns, side = _layout(len(values))
    tiles = colormap_indices(_scale_to_tile(values, side), low, high)
    height, width = tiles.shape[1:]
    gap = max(1, side // 24)
    rows = -(-len(tiles) // columns)
    grid = numpy.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap), fill_value=GAP_INDEX, dtype=numpy.uint8
    )
    for channel, tile in enumerate(tiles):
        top, left = channel // columns * (height + gap), channel % columns * (width + gap)
        grid[top : top + height, left : left + width] = tile
    return indexed_image(grid)


def _layout(channels: int) -> tuple[int, int]:
    """Returns the number of columns and the largest side of a tile; the grid is wider than high, like a screen."""
    columns = min(channels, math.ceil(math.sqrt(channels * 1.6)))
    return columns, min(_MAX_TILE_SIDE, _MAX_WIDTH // columns - max(1, _MAX_WIDTH // columns // 24))


def _scale_to_tile(values: Tensor, side: int) -> Tensor:
    """Scales [C, H, W] to the largest integer multiple of its size within `side`, or averages it down to `side`."""
    longer = max(values.shape[1:])
    if longer <= side:
        times = side // longer
        return values.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
    height, width = (max(1, round(length * side / longer)) for length in values.shape[1:])
    return functional.adaptive_avg_pool2d(values[None], (height, width))[0]
