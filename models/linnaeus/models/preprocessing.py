"""A picture file as the network gets it, prepared as the server prepares what it is sent."""

from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor

from linnaeus.models.manifest import InputSpec

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def load_image(path: Path, spec: InputSpec) -> Image.Image:
    """Reads a picture, upright and over white where it is not opaque; returns the part that the network sees.

    Returns:
        A picture of `spec.width` x `spec.height`, in mode L for one channel and RGB for three.

    Raises:
        OSError: the file is not there or no picture.
    """
    with Image.open(path) as file:
        upright = ImageOps.exif_transpose(file)
    return _resize_and_crop(_opaque(upright).convert("L" if spec.channels == 1 else "RGB"), spec)


def to_pixels(picture: Image.Image) -> Tensor:
    """A picture in mode L or RGB as uint8 [1, C, H, W]."""
    return torch.from_numpy(numpy.array(picture)).reshape(1, picture.height, picture.width, -1).permute(0, 3, 1, 2)


def _opaque(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)


def _resize_and_crop(picture: Image.Image, spec: InputSpec) -> Image.Image:
    """Shorter side to `spec.resize`, then the middle; the longer side is rounded down, as torchvision does."""
    short = min(picture.size)
    left, right = _crop_span(picture.width, spec.resize * picture.width // short, spec.width)
    top, bottom = _crop_span(picture.height, spec.resize * picture.height // short, spec.height)
    return picture.resize((spec.width, spec.height), _FILTERS[spec.interpolation], box=(left, top, right, bottom))


def _crop_span(source: int, resized: int, cut: int) -> tuple[float, float]:
    """Where the middle `cut` of `resized` pixels begins and ends, in pixels of the source."""
    start = round((resized - cut) / 2)
    return start * source / resized, (start + cut) * source / resized
