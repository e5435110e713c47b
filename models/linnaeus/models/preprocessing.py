"""Loads an image file and resizes and crops it for a network, as the server does."""

from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor

from linnaeus.models.manifest import InputSpec

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def load_image(path: Path, spec: InputSpec) -> Image.Image:
    """Reads an image file, applies its EXIF orientation, and puts it on white if it is not opaque.

    Returns:
        The part that the network sees, `spec.width` x `spec.height`, in mode L for one channel and RGB for three.

    Raises:
        OSError: if the file does not exist or is not an image.
    """
    with Image.open(path) as file:
        upright = ImageOps.exif_transpose(file)
    return _resize_and_crop(_opaque(upright).convert("L" if spec.channels == 1 else "RGB"), spec)


def to_pixels(image: Image.Image) -> Tensor:
    """Converts an image in mode L or RGB to uint8 [1, C, H, W]."""
    return torch.from_numpy(numpy.array(image)).reshape(1, image.height, image.width, -1).permute(0, 3, 1, 2)


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)


def _resize_and_crop(image: Image.Image, spec: InputSpec) -> Image.Image:
    """Resizes the shorter side to `spec.resize` (rounding the longer down, as torchvision) and crops the center."""
    short = min(image.size)
    left, right = _crop_span(image.width, spec.resize * image.width // short, spec.width)
    top, bottom = _crop_span(image.height, spec.resize * image.height // short, spec.height)
    return image.resize((spec.width, spec.height), _FILTERS[spec.interpolation], box=(left, top, right, bottom))


def _crop_span(source: int, resized: int, crop: int) -> tuple[float, float]:
    """Returns begin and end of the central `crop` of `resized` pixels, in pixels of the source."""
    start = round((resized - crop) / 2)
    return start * source / resized, (start + crop) * source / resized
