"""Brings an opened picture to a model's colours and size: decoded no finer than needed, resized, cut, turned upright.

Owns the geometry, and who resamples; knows nothing of containers, limits or what may be wrong with a file.
"""

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from PIL import Image

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.byte_resize import has_kernels, resize
from linnaeus.server.decoding.colour import convert_colour
from linnaeus.server.decoding.exif_orientation import UPRIGHT, mirrors_x, mirrors_y, swaps_axes, turn_upright

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# A JPEG may be decoded at 1/2, 1/4 or 1/8 as long as this many times the needed pixels remain on each axis.
_OVERSAMPLING = 2

# A picture more than twice this many times too large is first averaged down to at least this many times the needed
# pixels, six times quicker at 12 megapixels and 0.2 levels away in the mean. A drafted JPEG is never that large.
_REDUCING_GAP = 3.0

# torch resizes the whole picture, also what is cut away afterwards; Pillow only what is kept. torch is five times
# quicker, so it may do up to this many times the work; an extreme strip could be thousands of times as long as wide.
_MOST_RESIZED_FOR_ONE_KEPT = 4


@dataclass(frozen=True, slots=True)
class _Axis:
    """How one axis of the stored picture becomes one of the result.

    Attributes:
        source: the picture's extent in pixels as they will be decoded; it may end within the last one.
        resized: its length after resizing.
        start: where what is kept begins, in pixels after resizing.
        cut: the length of what is kept.
    """

    source: float
    resized: int
    start: int
    cut: int

    @property
    def kept(self) -> tuple[float, float]:
        """Where what is kept begins and ends, in pixels of the source."""
        return self.start * self.source / self.resized, (self.start + self.cut) * self.source / self.resized

    @property
    def is_far_too_long(self) -> bool:
        """Whether it is averaged down before it is resampled."""
        return self.source >= 2 * _REDUCING_GAP * self.resized


def resize_and_crop(image: Image.Image, orientation: int, spec: InputSpec) -> NDArray[numpy.uint8]:
    """Returns the picture as the model sees it, uint8 [H, W, C], C-contiguous and writable; see `decode`.

    Works on the axes as stored and turns the small result, so that a photograph held upright costs no more. Columns
    and rows are then filtered in the other order, which is worth 0.2 levels in the mean.

    Args:
        image: the picture, its pixels not decoded yet.
        orientation: EXIF's.
        spec: what the model takes.
    """
    cut = (spec.height, spec.width) if swaps_axes(orientation) else (spec.width, spec.height)
    short = min(image.size)
    resized = [int(spec.resize * length / short) for length in image.size]
    source = _draft(image, resized)
    x = _Axis(source[0], resized[0], _start(resized[0], cut[0], mirrors_x(orientation)), cut[0])
    y = _Axis(source[1], resized[1], _start(resized[1], cut[1], mirrors_y(orientation)), cut[1])
    plain = convert_colour(image, "L" if spec.channels == 1 else "RGB")
    resample = _with_torch if _suits_torch(x, y) else _with_pillow
    return _apply_orientation(resample(plain, x, y, spec), orientation)


def _draft(image: Image.Image, resized: list[int]) -> tuple[float, float]:
    """Lets a large JPEG be decoded at a fraction of its size; returns the picture's extent in the pixels to come.

    The extent may end within the last pixel: 1001 pixels at 1/2 are 500.5 in 501.
    """
    drafted = image.draft(None, (_OVERSAMPLING * resized[0], _OVERSAMPLING * resized[1]))
    return image.size if drafted is None else drafted[1][2:]


def _start(resized: int, cut: int, mirrored: bool) -> int:
    """Returns where the middle `cut` of `resized` pixels begins."""
    # Half pixels are rounded to even, as torchvision's CenterCrop does, and seen from the upright picture's side.
    start = round((resized - cut) / 2)
    return resized - cut - start if mirrored else start


def _suits_torch(x: _Axis, y: _Axis) -> bool:
    """Whether torch is the quicker one; Pillow is where nothing is resampled, or much would be for nothing."""
    return (
        has_kernels()
        and (x.source, y.source) != (x.resized, y.resized)
        and not (x.is_far_too_long or y.is_far_too_long)
        and x.resized * y.resized <= _MOST_RESIZED_FOR_ONE_KEPT * x.cut * y.cut
    )


def _with_torch(plain: Image.Image, x: _Axis, y: _Axis, spec: InputSpec) -> NDArray[numpy.uint8]:
    # A copy, because Pillow's own memory is read-only, which torch would warn about.
    pixels = numpy.array(plain).reshape(plain.height, plain.width, spec.channels)
    resized = resize(pixels, (x.source, y.source), (x.resized, y.resized), spec.interpolation)
    # As rows of bytes, for numpy copies a cut of whole pixels twenty times as slowly.
    rows = resized.reshape(y.resized, x.resized * spec.channels)
    left, right = x.start * spec.channels, (x.start + x.cut) * spec.channels
    return numpy.array(rows[y.start : y.start + y.cut, left:right]).reshape(y.cut, x.cut, spec.channels)


def _with_pillow(plain: Image.Image, x: _Axis, y: _Axis, spec: InputSpec) -> NDArray[numpy.uint8]:
    """Resizes and cuts in one step: only the part of the resized picture that is kept is ever computed."""
    box = (x.kept[0], y.kept[0], x.kept[1], y.kept[1])
    small = plain.resize((x.cut, y.cut), _FILTERS[spec.interpolation], box=box, reducing_gap=_REDUCING_GAP)
    return numpy.array(small).reshape(y.cut, x.cut, spec.channels)


def _apply_orientation(small: NDArray[numpy.uint8], orientation: int) -> NDArray[numpy.uint8]:
    """Turns the stored pixels upright. Pillow is twice as quick at it as numpy, which knows nothing of pixels."""
    if orientation == UPRIGHT:
        return small
    channels = small.shape[2]
    turned = turn_upright(Image.fromarray(small if channels > 1 else small[:, :, 0]), orientation)
    return numpy.array(turned).reshape(turned.height, turned.width, channels)
