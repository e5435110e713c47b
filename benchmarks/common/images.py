"""The bundled images as the benchmarks send them."""

import io
from pathlib import Path

from PIL import Image

FOLDER = Path("pictures")
PHOTOGRAPH_SIZE = (500, 375)
PHOTOGRAPHS = f"JPEG {PHOTOGRAPH_SIZE[0]}x{PHOTOGRAPH_SIZE[1]}"


def photographs(folder: Path) -> tuple[Path, ...]:
    """Writes the bundled photographs into a folder as JPEGs of one size, and returns their paths."""
    written = []
    for path in sorted(FOLDER.glob("*.jpg")):
        file = io.BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").resize(PHOTOGRAPH_SIZE).save(file, "JPEG", quality=90)
        written.append(folder / path.name)
        written[-1].write_bytes(file.getvalue())
    return tuple(written)


def digits() -> tuple[Path, ...]:
    """Returns the paths of the bundled digits, PNGs of 28x28."""
    return tuple(sorted(FOLDER.glob("digits/*.png")))
