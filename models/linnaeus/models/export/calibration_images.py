"""Calibration images, which a version folder contains for the server to compare precisions on.

This module decides which files of a folder are taken, and the layout of `calibration.bin`.
"""

import hashlib
from pathlib import Path

from linnaeus.models.manifest import Calibration, InputSpec
from linnaeus.models.preprocessing import load_image, to_pixels

# 2.4 MB for a model with color images of 224 x 224 pixels.
MAX_IMAGES = 16
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def read_calibration_images(folder: Path, spec: InputSpec) -> bytes:
    """Reads the first images of a folder, sorted by name, and prepares them as `spec` says.

    Returns:
        The bytes of uint8 [N, H, W, C], N from 1 to `MAX_IMAGES`.

    Raises:
        OSError: if the folder does not exist or an image cannot be read.
        ValueError: if the folder contains no image.
    """
    paths = image_files(folder)[:MAX_IMAGES]
    if not paths:
        raise ValueError(f"--calibration: there are no pictures in {folder} ({', '.join(_SUFFIXES)})")
    return b"".join(to_pixels(load_image(path, spec)).permute(0, 2, 3, 1).numpy().tobytes() for path in paths)


def image_files(folder: Path) -> list[Path]:
    """Returns the images in a folder by the endings of their names, sorted; OSError if the folder does not exist."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


def manifest_entry(pixels: bytes, spec: InputSpec) -> Calibration:
    """Returns the manifest's entry for the calibration images."""
    count = len(pixels) // (spec.height * spec.width * spec.channels)
    return Calibration(count, hashlib.sha256(pixels).hexdigest())
