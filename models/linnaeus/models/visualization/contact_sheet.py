"""Composes what was drawn into pictures with titles: one a stage, the heat map, and the contact sheet."""

import math

import numpy
import torch
from PIL import Image, ImageDraw

from linnaeus.models.visualization.feature_map_grid import (
    colormap_indices,
    draw_feature_map_grid,
    indexed_image,
    palette,
    value_range,
)
from linnaeus.models.visualization.feature_maps import FeatureMap
from linnaeus.models.visualization.image_analysis import ImageAnalysis, Prediction
from linnaeus.models.visualization.text_drawing import (
    MUTED_COLOR,
    TEXT_COLOR,
    WARNING_COLOR,
    draw_text,
    text_width,
    truncate,
    wrap_path,
)

MARGIN = 20
_BACKGROUND = "white"
_BAR = "#2a788e"
_BAR_BACKGROUND = "#e8ecef"
_HEADING, _BODY, _SMALL = 22, 15, 12
_IMAGE_SIDE = 336
_PREDICTIONS_WIDTH = 400
_TILE, _TILE_GAP, _TILES_PER_ROW = 112, 16, 9
_LINE_HEIGHT = 16
_MAX_TITLE_WIDTH = 1160
_MAX_OPACITY = 0.75


def stage_title(number: int, stage: FeatureMap) -> str:
    """One line that names a stage and its shape."""
    channels, height, width = stage.values.shape
    return f"{number}  {stage.name}  ({stage.kind})  [{channels}, {height}, {width}]"


def draw_feature_map(number: int, stage: FeatureMap) -> Image.Image:
    """The grid of all channels under a title, with the colour map's scale below."""
    grid = draw_feature_map_grid(stage.values).convert("RGBA")
    low, high = value_range(stage.values)
    title = truncate(stage_title(number, stage), _HEADING, _MAX_TITLE_WIDTH)
    width = max(grid.width, 420, math.ceil(text_width(title, _HEADING)))
    sheet, draw = _blank_sheet(width + 2 * MARGIN, grid.height + 128)
    draw_text(draw, (MARGIN, 16), title, _HEADING)
    sheet.paste(grid, (MARGIN, 56), grid)
    _draw_scale(sheet, (MARGIN, 56 + grid.height + 16), low, high)
    return sheet


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
    times = _IMAGE_SIDE / max(picture.size)
    smooth = Image.Resampling.NEAREST if times > 4 else Image.Resampling.BICUBIC
    return picture.resize((round(picture.width * times), round(picture.height * times)), smooth)


def format_probability(probability: float) -> str:
    """A probability to a tenth of a percent; what would round to nothing says so."""
    return f"{probability:.1%}" if probability >= 0.0005 else "<0.1%"


def heat_map_title(analysis: ImageAnalysis) -> str:
    """What the heat map shows, in one line."""
    stages = " and ".join(analysis.heat_map.stages)
    if not analysis.heat_map.values.any():
        return f"Grad-CAM: nothing in {stages} speaks for {analysis.explained.label}"
    return f"Grad-CAM for {analysis.explained.label}, from {stages}"


def draw_contact_sheet(analysis: ImageAnalysis) -> Image.Image:
    """The picture, its heat map, the five best guesses, and a small map for every stage."""
    width = max(2 * _IMAGE_SIDE + _PREDICTIONS_WIDTH + 4 * MARGIN, _TILES_PER_ROW * (_TILE + _TILE_GAP) + 2 * MARGIN)
    tops = (100, 100 + _IMAGE_SIDE + 48)
    shown = _maps_with_area(analysis.feature_maps)
    rows = -(-len(shown) // _TILES_PER_ROW)
    sheet, draw = _blank_sheet(width, tops[1] + 36 + rows * _row_height(shown) + MARGIN)
    _draw_heading(draw, analysis, width)
    _draw_images(sheet, tops[0], analysis)
    left = 2 * _IMAGE_SIDE + 3 * MARGIN
    for place, prediction in enumerate(analysis.predictions):
        _draw_prediction(draw, (left, tops[0] + 62 * place), prediction, width - left - MARGIN)
    _draw_thumbnails(sheet, tops[1], analysis)
    return sheet


def _draw_images(sheet: Image.Image, top: int, analysis: ImageAnalysis) -> None:
    """The picture and its heat map, side by side."""
    pictures = (enlarge(analysis.image).convert("RGB"), draw_heat_map(analysis))
    captions = (f"{analysis.file}, as the network sees it", heat_map_title(analysis))
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = MARGIN + place * (_IMAGE_SIDE + MARGIN)
        sheet.paste(picture, (left, top))
        text = truncate(caption, _SMALL, _IMAGE_SIDE)
        draw_text(ImageDraw.Draw(sheet), (left, top + _IMAGE_SIDE + 6), text, _SMALL, MUTED_COLOR)


def _draw_thumbnails(sheet: Image.Image, top: int, analysis: ImageAnalysis) -> None:
    shown = _maps_with_area(analysis.feature_maps)
    text = (
        f"{len(analysis.feature_maps)} stages, each as the mean of its channels, from its lowest value to its highest"
    )
    if len(shown) < len(analysis.feature_maps):
        text += f"; {len(analysis.feature_maps) - len(shown)} of single points left out"
    draw_text(ImageDraw.Draw(sheet), (MARGIN, top), text, _BODY)
    height = _row_height(shown)
    for place, (number, stage) in enumerate(shown):
        row, column = divmod(place, _TILES_PER_ROW)
        _draw_thumbnail(sheet, (MARGIN + column * (_TILE + _TILE_GAP), top + 36 + row * height), number, stage)


def _row_height(shown: list[tuple[int, FeatureMap]]) -> int:
    """Of a row of thumbnails: the longest text below one decides, and a line stays free."""
    lines = max((len(_caption(number, stage)) for number, stage in shown), default=0)
    return _TILE + 4 + (lines + 1) * _LINE_HEIGHT


def _caption(number: int, stage: FeatureMap) -> tuple[str, ...]:
    """Number, name and shape, in two or three lines."""
    return *wrap_path(number, stage.name, _SMALL, _TILE), str(list(stage.values.shape))


def _maps_with_area(stages: tuple[FeatureMap, ...]) -> list[tuple[int, FeatureMap]]:
    """The stages, with their numbers, that have height or width: the mean of single points shows nothing."""
    return [(number, stage) for number, stage in enumerate(stages, 1) if stage.values[0].numel() > 1]


def _blank_sheet(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    return sheet, ImageDraw.Draw(sheet)


def _draw_heading(draw: ImageDraw.ImageDraw, analysis: ImageAnalysis, width: int) -> None:
    draw_text(draw, (MARGIN, 18), truncate(f"{analysis.model} looks at {analysis.file}", 26, width - 2 * MARGIN), 26)
    text = f"weights: {analysis.weights}"
    if not analysis.trained:
        text = f"untrained ({analysis.weights}): the guesses mean nothing"
    draw_text(
        draw,
        (MARGIN, 58),
        truncate(text, _BODY, width - 2 * MARGIN),
        _BODY,
        MUTED_COLOR if analysis.trained else WARNING_COLOR,
    )


def _draw_prediction(draw: ImageDraw.ImageDraw, place: tuple[int, int], prediction: Prediction, width: int) -> None:
    """Label and probability above a bar that is full at 1."""
    left, top = place
    draw_text(draw, (left, top), truncate(prediction.label, 17, width - 90), 17, TEXT_COLOR)
    draw.text(
        (left + width, top), format_probability(prediction.probability), fill=TEXT_COLOR, anchor="ra", font_size=17
    )
    draw.rectangle((left, top + 26, left + width, top + 38), fill=_BAR_BACKGROUND)
    draw.rectangle((left, top + 26, left + max(1, round(width * prediction.probability)), top + 38), fill=_BAR)


def _draw_thumbnail(sheet: Image.Image, corner: tuple[int, int], number: int, stage: FeatureMap) -> None:
    """The mean over the channels, in its own range, above number, name and shape."""
    mean = stage.values.mean(0)
    tile = indexed_image(colormap_indices(mean, float(mean.min()), float(mean.max()))).convert("RGB")
    larger = max(tile.size) > _TILE
    left, top = corner
    sheet.paste(tile.resize((_TILE, _TILE), Image.Resampling.BOX if larger else Image.Resampling.NEAREST), corner)
    draw = ImageDraw.Draw(sheet)
    *name, shape = _caption(number, stage)
    for line, text in enumerate((*name, shape)):
        draw_text(
            draw,
            (left, top + _TILE + 4 + line * _LINE_HEIGHT),
            text,
            _SMALL,
            MUTED_COLOR if text == shape else TEXT_COLOR,
        )


def _draw_scale(sheet: Image.Image, place: tuple[int, int], low: float, high: float) -> None:
    """The colour map from its lowest value to its highest; `place` is the left upper corner."""
    draw = ImageDraw.Draw(sheet)
    ramp = indexed_image(colormap_indices(torch.linspace(0, 1, 300).expand(14, 300), 0, 1)).convert("RGB")
    sheet.paste(ramp, place)
    left, top = place
    draw_text(draw, (left, top + 18), f"{low:.3g}", _SMALL)
    draw.text((left + 300, top + 18), f"{high:.3g}", fill=TEXT_COLOR, anchor="ra", font_size=_SMALL)
    draw_text(
        draw, (left, top + 36), "1st to 99th percentile of all values; one scale for every channel", _SMALL, MUTED_COLOR
    )
