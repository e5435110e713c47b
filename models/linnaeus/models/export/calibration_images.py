"""Pictures that a version brings along for the server to compare precisions by.

It owns which files of a folder these are, and how they lie in `calibration.bin`; what is done with them is the
server's.
"""

import hashlib
from pathlib import Path

from linnaeus.models.manifest import Calibration, InputSpec
from linnaeus.models.preprocessing import load_image, to_pixels

# 2.4 MB for a model that takes 224 x 224 pixels in colour.
MAX_IMAGES = 16
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def read_calibration_images(folder: Path, spec: InputSpec) -> bytes:
    """Reads the first pictures of a folder, by name, as the model sees them.

    Returns:
        uint8 [N, H, W, C], of 1 to `MAX_IMAGES` pictures.

    Raises:
        OSError: the folder is not there, or a picture cannot be read.
        ValueError: there is none.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)[:MAX_IMAGES]
    if not paths:
        raise ValueError(f"--calibration: there are no pictures in {folder} ({', '.join(_SUFFIXES)})")
    return b"".join(to_pixels(load_image(path, spec)).permute(0, 2, 3, 1).numpy().tobytes() for path in paths)


def manifest_entry(pixels: bytes, spec: InputSpec) -> Calibration:
    """What the manifest says of them."""
    count = len(pixels) // (spec.height * spec.width * spec.channels)
    return Calibration(count, hashlib.sha256(pixels).hexdigest())
