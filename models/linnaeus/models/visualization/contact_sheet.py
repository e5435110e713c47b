"""Draws the contact sheet: image, heat map, predictions, and a thumbnail of every stage."""

from PIL import Image, ImageDraw

from linnaeus.models.visualization.captions import format_probability, heat_map_title
from linnaeus.models.visualization.colormap import colormap_indices, indexed_image
from linnaeus.models.visualization.drawing import (
    BODY_SIZE,
    MARGIN,
    MUTED_COLOR,
    SMALL_SIZE,
    TEXT_COLOR,
    WARNING_COLOR,
    blank_sheet,
    draw_text,
    truncate,
    wrap_path,
)
from linnaeus.models.visualization.feature_maps import FeatureMap
from linnaeus.models.visualization.heat_map import IMAGE_SIDE, draw_heat_map, enlarge
from linnaeus.models.visualization.image_analysis import ImageAnalysis, Prediction

_BAR = "#2a788e"
_BAR_BACKGROUND = "#e8ecef"
_PREDICTIONS_WIDTH = 400
_TILE, _TILE_GAP, _TILES_PER_ROW = 112, 16, 9
_LINE_HEIGHT = 16


def draw_contact_sheet(analysis: ImageAnalysis) -> Image.Image:
    """Draws image, heat map, the five best predictions, and a thumbnail of every stage."""
    width = max(2 * IMAGE_SIDE + _PREDICTIONS_WIDTH + 4 * MARGIN, _TILES_PER_ROW * (_TILE + _TILE_GAP) + 2 * MARGIN)
    tops = (100, 100 + IMAGE_SIDE + 48)
    shown = _maps_with_area(analysis.feature_maps)
    rows = -(-len(shown) // _TILES_PER_ROW)
    sheet, draw = blank_sheet(width, tops[1] + 36 + rows * _row_height(shown) + MARGIN)
    _draw_heading(draw, analysis, width)
    _draw_images(sheet, tops[0], analysis)
    left = 2 * IMAGE_SIDE + 3 * MARGIN
    for rank, prediction in enumerate(analysis.predictions):
        _draw_prediction(draw, (left, tops[0] + 62 * rank), prediction, width - left - MARGIN)
    _draw_thumbnails(sheet, tops[1], analysis)
    return sheet


def _draw_images(sheet: Image.Image, top: int, analysis: ImageAnalysis) -> None:
    """Draws the image and its heat map side by side."""
    images = (enlarge(analysis.image).convert("RGB"), draw_heat_map(analysis))
    captions = (f"{analysis.file}, as the network sees it", heat_map_title(analysis))
    for column, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = MARGIN + column * (IMAGE_SIDE + MARGIN)
        sheet.paste(image, (left, top))
        text = truncate(caption, SMALL_SIZE, IMAGE_SIDE)
        draw_text(ImageDraw.Draw(sheet), (left, top + IMAGE_SIDE + 6), text, SMALL_SIZE, MUTED_COLOR)


def _draw_thumbnails(sheet: Image.Image, top: int, analysis: ImageAnalysis) -> None:
    shown = _maps_with_area(analysis.feature_maps)
    text = (
        f"{len(analysis.feature_maps)} stages, each as the mean of its channels, from its lowest value to its highest"
    )
    if len(shown) < len(analysis.feature_maps):
        text += f"; {len(analysis.feature_maps) - len(shown)} of single points left out"
    draw_text(ImageDraw.Draw(sheet), (MARGIN, top), text, BODY_SIZE)
    height = _row_height(shown)
    for index, (number, stage) in enumerate(shown):
        row, column = divmod(index, _TILES_PER_ROW)
        _draw_thumbnail(sheet, (MARGIN + column * (_TILE + _TILE_GAP), top + 36 + row * height), number, stage)


def _row_height(shown: list[tuple[int, FeatureMap]]) -> int:
    """Returns the height of a row of thumbnails: tile, the longest caption, and one empty line."""
    lines = max((len(_caption(number, stage)) for number, stage in shown), default=0)
    return _TILE + 4 + (lines + 1) * _LINE_HEIGHT


def _caption(number: int, stage: FeatureMap) -> tuple[str, ...]:
    """Returns number, name and shape of a stage in two or three lines."""
    return *wrap_path(number, stage.name, SMALL_SIZE, _TILE), str(list(stage.values.shape))


def _maps_with_area(stages: tuple[FeatureMap, ...]) -> list[tuple[int, FeatureMap]]:
    """Returns the feature maps larger than 1x1, with their numbers; the mean of 1x1 maps shows nothing."""
    return [(number, stage) for number, stage in enumerate(stages, 1) if stage.values[0].numel() > 1]


def _draw_heading(draw: ImageDraw.ImageDraw, analysis: ImageAnalysis, width: int) -> None:
    draw_text(draw, (MARGIN, 18), truncate(f"{analysis.model} looks at {analysis.file}", 26, width - 2 * MARGIN), 26)
    text = f"weights: {analysis.weights}"
    if not analysis.trained:
        text = f"untrained ({analysis.weights}): the guesses mean nothing"
    draw_text(
        draw,
        (MARGIN, 58),
        truncate(text, BODY_SIZE, width - 2 * MARGIN),
        BODY_SIZE,
        MUTED_COLOR if analysis.trained else WARNING_COLOR,
    )


def _draw_prediction(draw: ImageDraw.ImageDraw, corner: tuple[int, int], prediction: Prediction, width: int) -> None:
    """Draws label and probability above a bar whose full width is a probability of 1."""
    left, top = corner
    draw_text(draw, (left, top), truncate(prediction.label, 17, width - 90), 17, TEXT_COLOR)
    draw.text(
        (left + width, top), format_probability(prediction.probability), fill=TEXT_COLOR, anchor="ra", font_size=17
    )
    draw.rectangle((left, top + 26, left + width, top + 38), fill=_BAR_BACKGROUND)
    draw.rectangle((left, top + 26, left + max(1, round(width * prediction.probability)), top + 38), fill=_BAR)


def _draw_thumbnail(sheet: Image.Image, corner: tuple[int, int], number: int, stage: FeatureMap) -> None:
    """Draws the mean over the channels, scaled to its own range, above number, name and shape."""
    mean = stage.values.mean(0)
    tile = indexed_image(colormap_indices(mean, float(mean.min()), float(mean.max()))).convert("RGB")
    resampling = Image.Resampling.BOX if max(tile.size) > _TILE else Image.Resampling.NEAREST
    left, top = corner
    sheet.paste(tile.resize((_TILE, _TILE), resampling), corner)
    draw = ImageDraw.Draw(sheet)
    *name, shape = _caption(number, stage)
    for line, text in enumerate((*name, shape)):
        draw_text(
            draw,
            (left, top + _TILE + 4 + line * _LINE_HEIGHT),
            text,
            SMALL_SIZE,
            MUTED_COLOR if text == shape else TEXT_COLOR,
        )
