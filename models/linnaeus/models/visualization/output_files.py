"""Writes what was seen into a folder, every file whole or not at all."""

import io
import os
import re
import tempfile
from pathlib import Path

from PIL import Image

from linnaeus.models.visualization.contact_sheet import draw_contact_sheet, draw_heat, draw_stage
from linnaeus.models.visualization.html_page import page
from linnaeus.models.visualization.image_analysis import Sight

CONTACT_SHEET = "contact_sheet.png"
HEAT_MAP = "heat_map.png"
PAGE = "index.html"
STAGES = "stages"
_OUR_STAGE = re.compile(r"\d{3}_[\w.-]+\.png")


def save(sight: Sight, folder: Path, as_html: bool = False) -> list[Path]:
    """Draws and writes everything; returns the files, the stages' last.

    A stage's file is called `stages/<number>_<path>.png`; those of an earlier run into the same folder are removed.

    Args:
        sight: what was seen.
        folder: made if it is not there.
        as_html: whether to write the page as well.

    Raises:
        OSError: the folder cannot be written.
    """
    (folder / STAGES).mkdir(parents=True, exist_ok=True)
    written = [
        _save_picture(folder / CONTACT_SHEET, draw_contact_sheet(sight)),
        _save_picture(folder / HEAT_MAP, draw_heat(sight)),
    ]
    if as_html:
        written.append(_save(folder / PAGE, page(sight).encode()))
    for number, stage in enumerate(sight.stages, 1):
        name = re.sub(r"[^\w.-]+", "_", stage.name).strip("_")
        written.append(_save_picture(folder / STAGES / f"{number:03}_{name}.png", draw_stage(number, stage)))
    _remove_others(folder / STAGES, written)
    return written


def _remove_others(folder: Path, ours: list[Path]) -> None:
    for path in folder.iterdir():
        if _OUR_STAGE.fullmatch(path.name) and path not in ours:
            path.unlink()


def _save_picture(path: Path, picture: Image.Image) -> Path:
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return _save(path, file.getvalue())


def _save(path: Path, data: bytes) -> Path:
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
