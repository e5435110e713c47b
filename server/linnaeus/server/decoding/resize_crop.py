"""Preprocesses an image for a model: reduced decoding, colour conversion, resize, center crop, orientation.

Owns the geometry and the choice between torch and Pillow; must not know containers, limits or malformed files.
"""

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from PIL import Image

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.box_average import REDUCING_GAP, shrink
from linnaeus.server.decoding.byte_resize import has_kernels, resize
from linnaeus.server.decoding.colour import convert_colour
from linnaeus.server.decoding.exif_orientation import UPRIGHT, mirrors_x, mirrors_y, swaps_axes, turn_upright
from linnaeus.server.decoding.jpeg_scale import OVERSAMPLING, resized_size

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# torch resizes the whole image, Pillow only the part that the crop keeps. torch is five times faster, so it may resize
# up to this many times the pixels kept; an extreme strip could be thousands of times as long as wide.
_MAX_RESIZED_PER_KEPT = 4


@dataclass(frozen=True, slots=True)
class _Axis:
    """The resize and crop of one axis of the stored image.

    Attributes:
        source: extent of the image, in decoded pixels; it may end within the last one.
        resized: length after resizing, in pixels.
        start: start of the crop, in pixels after resizing.
        crop: length of the crop, in pixels.
    """

    source: float
    resized: int
    start: int
    crop: int

    @property
    def kept(self) -> tuple[float, float]:
        """Start and end of the crop, in pixels of the source."""
        return self.start * self.source / self.resized, (self.start + self.crop) * self.source / self.resized

    @property
    def is_far_too_long(self) -> bool:
        """Whether the axis is box-averaged before it is resampled."""
        return self.source >= 2 * REDUCING_GAP * self.resized

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing is resampled or cropped away."""
        return self.source == self.resized == self.crop


@dataclass(frozen=True, slots=True)
class Scaling:
    """How an image becomes smaller.

    Attributes:
        extent: width and height of the image in decoded pixels; it may end within the last pixel: 1001 pixels at 1/2
            are 500.5 of 501 pixels.
        resized: width and height after resizing, in pixels.
    """

    extent: tuple[float, float]
    resized: tuple[int, int]


def select_scale(image: Image.Image, spec: InputSpec) -> Scaling:
    """Selects decoding at a fraction of the size for a large JPEG; call it before the pixels are decoded."""
    resized = resized_size(*image.size, spec)
    drafted = image.draft(None, (OVERSAMPLING * resized[0], OVERSAMPLING * resized[1]))
    return Scaling(image.size if drafted is None else drafted[1][2:], resized)


def resize_and_crop(image: Image.Image, scaling: Scaling, orientation: int, spec: InputSpec) -> NDArray[numpy.uint8]:
    """Preprocesses a decoded image; see `decode`.

    Resizes the axes as stored and rotates the small result, so that a rotated photograph costs no more than an upright
    one. Columns and rows are then filtered in the opposite order, a mean difference of 0.2 levels.

    Args:
        image: the image with its pixels.
        scaling: what `select_scale` returned for it.
        orientation: EXIF orientation, 1 to 8.
        spec: shape and preprocessing of the model's input.

    Returns:
        uint8 [H, W, C], C-contiguous and writable.
    """
    crop = (spec.height, spec.width) if swaps_axes(orientation) else (spec.width, spec.height)
    extent, resized = scaling.extent, scaling.resized
    x = _Axis(extent[0], resized[0], _start(resized[0], crop[0], mirrors_x(orientation)), crop[0])
    y = _Axis(extent[1], resized[1], _start(resized[1], crop[1], mirrors_y(orientation)), crop[1])
    mode = "L" if spec.channels == 1 else "RGB"
    if x.is_unchanged and y.is_unchanged:
        small = numpy.array(convert_colour(image, mode)).reshape(y.crop, x.crop, spec.channels)
    else:
        resample = _resample_with_torch if _is_faster_with_torch(x, y) else _resample_with_pillow
        small = resample(image, mode, x, y, spec)
    return _apply_orientation(small, orientation)


def _start(resized: int, crop: int, mirrored: bool) -> int:
    """Returns the start of the middle `crop` of `resized` pixels."""
    # Half pixels are rounded to even on the axis of the upright image, as torchvision's CenterCrop does.
    start = round((resized - crop) / 2)
    return resized - crop - start if mirrored else start


def _is_faster_with_torch(x: _Axis, y: _Axis) -> bool:
    """Returns whether torch is faster: not if nothing is resampled, or much of what torch resizes is cropped away."""
    return (
        has_kernels()
        and (x.source, y.source) != (x.resized, y.resized)
        and not (x.is_far_too_long or y.is_far_too_long)
        and x.resized * y.resized <= _MAX_RESIZED_PER_KEPT * x.crop * y.crop
    )


def _resample_with_torch(image: Image.Image, mode: str, x: _Axis, y: _Axis, spec: InputSpec) -> NDArray[numpy.uint8]:
    # A copy, because Pillow's memory is read-only and torch warns about read-only arrays.
    pixels = numpy.array(convert_colour(image, mode)).reshape(image.height, image.width, spec.channels)
    resized = resize(pixels, (x.source, y.source), (x.resized, y.resized), spec.interpolation)
    # Cropped as rows of bytes: numpy copies a crop of whole pixels twenty times as slowly.
    rows = resized.reshape(y.resized, x.resized * spec.channels)
    left, right = x.start * spec.channels, (x.start + x.crop) * spec.channels
    return numpy.array(rows[y.start : y.start + y.crop, left:right]).reshape(y.crop, x.crop, spec.channels)


def _resample_with_pillow(image: Image.Image, mode: str, x: _Axis, y: _Axis, spec: InputSpec) -> NDArray[numpy.uint8]:
    """Resizes and crops in one step: only the part that the crop keeps is computed."""
    size = (x.crop, y.crop)
    small, box = shrink(image, mode, (x.kept[0], y.kept[0], x.kept[1], y.kept[1]), size, spec.interpolation)
    return numpy.array(small.resize(size, _FILTERS[spec.interpolation], box=box)).reshape(y.crop, x.crop, spec.channels)


def _apply_orientation(small: NDArray[numpy.uint8], orientation: int) -> NDArray[numpy.uint8]:
    """Turns the stored pixels upright, with Pillow, which is twice as fast at it as numpy."""
    if orientation == UPRIGHT:
        return small
    channels = small.shape[2]
    turned = turn_upright(Image.fromarray(small if channels > 1 else small[:, :, 0]), orientation)
    return numpy.array(turned).reshape(turned.height, turned.width, channels)
