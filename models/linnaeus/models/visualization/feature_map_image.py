"""Draws the feature map of one stage with a title and a color scale."""

import math

import torch
from PIL import Image, ImageDraw

from linnaeus.models.visualization.captions import stage_title
from linnaeus.models.visualization.colormap import colormap_indices, indexed_image, value_range
from linnaeus.models.visualization.drawing import (
    HEADING_SIZE,
    MARGIN,
    MUTED_COLOR,
    SMALL_SIZE,
    TEXT_COLOR,
    blank_sheet,
    draw_text,
    text_width,
    truncate,
)
from linnaeus.models.visualization.feature_map_grid import draw_feature_map_grid
from linnaeus.models.visualization.feature_maps import FeatureMap

_MAX_TITLE_WIDTH = 1160


def draw_feature_map(number: int, stage: FeatureMap) -> Image.Image:
    """Draws the title, the grid of all channels, and the color scale."""
    grid = draw_feature_map_grid(stage.values).convert("RGBA")
    low, high = value_range(stage.values)
    title = truncate(stage_title(number, stage), HEADING_SIZE, _MAX_TITLE_WIDTH)
    width = max(grid.width, 420, math.ceil(text_width(title, HEADING_SIZE)))
    sheet, draw = blank_sheet(width + 2 * MARGIN, grid.height + 128)
    draw_text(draw, (MARGIN, 16), title, HEADING_SIZE)
    sheet.paste(grid, (MARGIN, 56), grid)
    _draw_scale(sheet, (MARGIN, 56 + grid.height + 16), low, high)
    return sheet


def _draw_scale(sheet: Image.Image, corner: tuple[int, int], low: float, high: float) -> None:
    """Draws the color scale with its lowest and highest value; `corner` is the upper left corner."""
    draw = ImageDraw.Draw(sheet)
    ramp = indexed_image(colormap_indices(torch.linspace(0, 1, 300).expand(14, 300), 0, 1)).convert("RGB")
    sheet.paste(ramp, corner)
    left, top = corner
    draw_text(draw, (left, top + 18), f"{low:.3g}", SMALL_SIZE)
    draw.text((left + 300, top + 18), f"{high:.3g}", fill=TEXT_COLOR, anchor="ra", font_size=SMALL_SIZE)
    draw_text(
        draw,
        (left, top + 36),
        "1st to 99th percentile of all values; one scale for every channel",
        SMALL_SIZE,
        MUTED_COLOR,
    )
