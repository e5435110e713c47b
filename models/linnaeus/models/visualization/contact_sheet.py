"""Composes what was drawn into pictures with titles: one a stage, the heat map, and the contact sheet."""

import math

import numpy
import torch
from PIL import Image, ImageDraw

from linnaeus.models.visualization.feature_map_grid import as_picture, coloured, draw_grid, palette, value_range
from linnaeus.models.visualization.feature_maps import FeatureMap
from linnaeus.models.visualization.image_analysis import Guess, Sight
from linnaeus.models.visualization.text_drawing import FAINT, INK, WARNING, length, shorten, wrap_path, write

MARGIN = 20
_PAPER = "white"
_BAR = "#2a788e"
_BAR_BEHIND = "#e8ecef"
_HEADING, _BODY, _SMALL = 22, 15, 12
_PICTURE_SIDE = 336
_GUESSES_WIDTH = 400
_TILE, _TILE_GAP, _TILES_A_ROW = 112, 16, 9
_LINE = 16
_WIDEST_TITLE = 1160
_STRONGEST_HEAT = 0.75


def describe(number: int, stage: FeatureMap) -> str:
    """One line that names a stage and its shape."""
    channels, height, width = stage.values.shape
    return f"{number}  {stage.name}  ({stage.kind})  [{channels}, {height}, {width}]"


def draw_stage(number: int, stage: FeatureMap) -> Image.Image:
    """The grid of all channels under a title, with the colour map's scale below."""
    grid = draw_grid(stage.values).convert("RGBA")
    low, high = value_range(stage.values)
    title = shorten(describe(number, stage), _HEADING, _WIDEST_TITLE)
    width = max(grid.width, 420, math.ceil(length(title, _HEADING)))
    sheet, draw = _paper(width + 2 * MARGIN, grid.height + 128)
    write(draw, (MARGIN, 16), title, _HEADING)
    sheet.paste(grid, (MARGIN, 56), grid)
    _draw_scale(sheet, (MARGIN, 56 + grid.height + 16), low, high)
    return sheet


def draw_heat(sight: Sight) -> Image.Image:
    """The heat map over the picture: what spoke for the class keeps its light and takes the colour map's colours."""
    grey = numpy.asarray(sight.picture.convert("L").convert("RGB"), dtype=numpy.float64)
    heat = sight.heat.values.numpy().astype(numpy.float64)
    colours = palette()[(heat * 254).round().astype(int)].astype(numpy.float64)
    share = (_STRONGEST_HEAT * heat.clip(0, 1) ** 0.7)[..., None]
    mixed = (1 - share) * grey * (0.45 + 0.55 * heat[..., None]) + share * colours
    return enlarge(Image.fromarray(mixed.round().clip(0, 255).astype(numpy.uint8)))


def enlarge(picture: Image.Image) -> Image.Image:
    """The picture at a size to look at, the same for every model; the pixels of a small one stay sharp."""
    times = _PICTURE_SIDE / max(picture.size)
    smooth = Image.Resampling.NEAREST if times > 4 else Image.Resampling.BICUBIC
    return picture.resize((round(picture.width * times), round(picture.height * times)), smooth)


def percent(probability: float) -> str:
    """A probability to a tenth of a percent; what would round to nothing says so."""
    return f"{probability:.1%}" if probability >= 0.0005 else "<0.1%"


def heat_title(sight: Sight) -> str:
    """What the heat map shows, in one line."""
    stages = " and ".join(sight.heat.stages)
    if not sight.heat.values.any():
        return f"Grad-CAM: nothing in {stages} speaks for {sight.explained.label}"
    return f"Grad-CAM for {sight.explained.label}, from {stages}"


def draw_contact_sheet(sight: Sight) -> Image.Image:
    """The picture, its heat map, the five best guesses, and a small map for every stage."""
    width = max(2 * _PICTURE_SIDE + _GUESSES_WIDTH + 4 * MARGIN, _TILES_A_ROW * (_TILE + _TILE_GAP) + 2 * MARGIN)
    tops = (100, 100 + _PICTURE_SIDE + 48)
    shown = _with_extent(sight.stages)
    rows = -(-len(shown) // _TILES_A_ROW)
    sheet, draw = _paper(width, tops[1] + 36 + rows * _row_height(shown) + MARGIN)
    _draw_heading(draw, sight, width)
    _draw_pictures(sheet, tops[0], sight)
    left = 2 * _PICTURE_SIDE + 3 * MARGIN
    for place, guess in enumerate(sight.guesses):
        _draw_guess(draw, (left, tops[0] + 62 * place), guess, width - left - MARGIN)
    _draw_thumbnails(sheet, tops[1], sight)
    return sheet


def _draw_pictures(sheet: Image.Image, top: int, sight: Sight) -> None:
    """The picture and its heat map, side by side."""
    pictures = (enlarge(sight.picture).convert("RGB"), draw_heat(sight))
    captions = (f"{sight.file}, as the network sees it", heat_title(sight))
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = MARGIN + place * (_PICTURE_SIDE + MARGIN)
        sheet.paste(picture, (left, top))
        text = shorten(caption, _SMALL, _PICTURE_SIDE)
        write(ImageDraw.Draw(sheet), (left, top + _PICTURE_SIDE + 6), text, _SMALL, FAINT)


def _draw_thumbnails(sheet: Image.Image, top: int, sight: Sight) -> None:
    shown = _with_extent(sight.stages)
    text = f"{len(sight.stages)} stages, each as the mean of its channels, from its lowest value to its highest"
    if len(shown) < len(sight.stages):
        text += f"; {len(sight.stages) - len(shown)} of single points left out"
    write(ImageDraw.Draw(sheet), (MARGIN, top), text, _BODY)
    height = _row_height(shown)
    for place, (number, stage) in enumerate(shown):
        row, column = divmod(place, _TILES_A_ROW)
        _draw_thumbnail(sheet, (MARGIN + column * (_TILE + _TILE_GAP), top + 36 + row * height), number, stage)


def _row_height(shown: list[tuple[int, FeatureMap]]) -> int:
    """Of a row of thumbnails: the longest text below one decides, and a line stays free."""
    lines = max((len(_caption(number, stage)) for number, stage in shown), default=0)
    return _TILE + 4 + (lines + 1) * _LINE


def _caption(number: int, stage: FeatureMap) -> tuple[str, ...]:
    """Number, name and shape, in two or three lines."""
    return *wrap_path(number, stage.name, _SMALL, _TILE), str(list(stage.values.shape))


def _with_extent(stages: tuple[FeatureMap, ...]) -> list[tuple[int, FeatureMap]]:
    """The stages, with their numbers, that have height or width: the mean of single points shows nothing."""
    return [(number, stage) for number, stage in enumerate(stages, 1) if stage.values[0].numel() > 1]


def _paper(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (width, height), _PAPER)
    return sheet, ImageDraw.Draw(sheet)


def _draw_heading(draw: ImageDraw.ImageDraw, sight: Sight, width: int) -> None:
    write(draw, (MARGIN, 18), shorten(f"{sight.model} looks at {sight.file}", 26, width - 2 * MARGIN), 26)
    text = f"weights: {sight.weights}"
    if not sight.trained:
        text = f"untrained ({sight.weights}): the guesses mean nothing"
    write(draw, (MARGIN, 58), shorten(text, _BODY, width - 2 * MARGIN), _BODY, FAINT if sight.trained else WARNING)


def _draw_guess(draw: ImageDraw.ImageDraw, place: tuple[int, int], guess: Guess, width: int) -> None:
    """Label and probability above a bar that is full at 1."""
    left, top = place
    write(draw, (left, top), shorten(guess.label, 17, width - 90), 17, INK)
    draw.text((left + width, top), percent(guess.probability), fill=INK, anchor="ra", font_size=17)
    draw.rectangle((left, top + 26, left + width, top + 38), fill=_BAR_BEHIND)
    draw.rectangle((left, top + 26, left + max(1, round(width * guess.probability)), top + 38), fill=_BAR)


def _draw_thumbnail(sheet: Image.Image, corner: tuple[int, int], number: int, stage: FeatureMap) -> None:
    """The mean over the channels, in its own range, above number, name and shape."""
    mean = stage.values.mean(0)
    tile = as_picture(coloured(mean, float(mean.min()), float(mean.max()))).convert("RGB")
    larger = max(tile.size) > _TILE
    left, top = corner
    sheet.paste(tile.resize((_TILE, _TILE), Image.Resampling.BOX if larger else Image.Resampling.NEAREST), corner)
    draw = ImageDraw.Draw(sheet)
    *name, shape = _caption(number, stage)
    for line, text in enumerate((*name, shape)):
        write(draw, (left, top + _TILE + 4 + line * _LINE), text, _SMALL, FAINT if text == shape else INK)


def _draw_scale(sheet: Image.Image, place: tuple[int, int], low: float, high: float) -> None:
    """The colour map from its lowest value to its highest; `place` is the left upper corner."""
    draw = ImageDraw.Draw(sheet)
    ramp = as_picture(coloured(torch.linspace(0, 1, 300).expand(14, 300), 0, 1)).convert("RGB")
    sheet.paste(ramp, place)
    left, top = place
    write(draw, (left, top + 18), f"{low:.3g}", _SMALL)
    draw.text((left + 300, top + 18), f"{high:.3g}", fill=INK, anchor="ra", font_size=_SMALL)
    write(draw, (left, top + 36), "1st to 99th percentile of all values; one scale for every channel", _SMALL, FAINT)
