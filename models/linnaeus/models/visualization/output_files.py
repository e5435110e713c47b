"""Writes the drawings of an analysis into a folder, each file atomically."""

import io
import os
import re
import tempfile
from pathlib import Path

from PIL import Image

from linnaeus.models.output_folder import make_folder
from linnaeus.models.visualization.contact_sheet import draw_contact_sheet
from linnaeus.models.visualization.feature_map_image import draw_feature_map
from linnaeus.models.visualization.heat_map import draw_heat_map
from linnaeus.models.visualization.html_page import render_page
from linnaeus.models.visualization.image_analysis import ImageAnalysis

CONTACT_SHEET = "contact_sheet.png"
HEAT_MAP = "heat_map.png"
HTML_PAGE = "index.html"
STAGES = "stages"
_STAGE_FILE = re.compile(r"\d{3}_[\w.-]+\.png")


def save_analysis(analysis: ImageAnalysis, folder: Path, as_html: bool = False) -> list[Path]:
    """Draws and writes everything; returns the paths of the files, those of the stages last.

    The file of a stage is `stages/<number>_<module path>.png`. Such files of an earlier run are removed.

    Args:
        analysis: what to draw.
        folder: the output folder; created if it does not exist.
        as_html: whether to write the HTML page as well.

    Raises:
        OSError: if the folder cannot be written.
    """
    make_folder(folder / STAGES)
    written = [
        _write_png(folder / CONTACT_SHEET, draw_contact_sheet(analysis)),
        _write_png(folder / HEAT_MAP, draw_heat_map(analysis)),
    ]
    if as_html:
        written.append(_write_atomically(folder / HTML_PAGE, render_page(analysis).encode()))
    for number, stage in enumerate(analysis.feature_maps, 1):
        name = re.sub(r"[^\w.-]+", "_", stage.name).strip("_")
        written.append(_write_png(folder / STAGES / f"{number:03}_{name}.png", draw_feature_map(number, stage)))
    _remove_stale_stages(folder / STAGES, written)
    return written


def _remove_stale_stages(folder: Path, written: list[Path]) -> None:
    for path in folder.iterdir():
        if _STAGE_FILE.fullmatch(path.name) and path not in written:
            path.unlink()


def _write_png(path: Path, image: Image.Image) -> Path:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return _write_atomically(path, file.getvalue())


def _write_atomically(path: Path, data: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            Path(file.name).chmod(0o644)
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
            raise
    return path
