"""Turns one picture into a model's input: uint8 pixels, upright, opaque, in the model's colours and size.

Owns what counts as a picture and how one becomes pixels; knows nothing of models beyond their `InputSpec`, and
nothing of torch or gRPC. Any thread may call `decode`, and any number at the same time: calls share no state.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy
from numpy.typing import NDArray

# The WebP part is imported here, or the first WebP file would make Pillow import every format it knows.
from PIL import Image, WebPImagePlugin  # noqa: F401

from linnaeus.models.manifest import InputSpec
from linnaeus.server.engine.colour import mend_transparency, recolour
from linnaeus.server.engine.container import ENCODED_FIELD, Container, open_container
from linnaeus.server.engine.orientation import UPRIGHT, mirrors_x, mirrors_y, swaps_axes, turn_upright
from linnaeus.server.errors import InvalidImage

# `decode` applies the caller's own limit to every header. Pillow's is one for the whole process and comes as a warning,
# which threads cannot silence for themselves, so it is turned off here, once, before any thread decodes.
Image.MAX_IMAGE_PIXELS = None

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_RAW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# A JPEG may be decoded at 1/2, 1/4 or 1/8 as long as this many times the needed pixels remain on each axis.
_OVERSAMPLING = 2

# A picture more than twice this many times too large is first averaged down to at least this many times the needed
# pixels, six times quicker at 12 megapixels and 0.2 levels away in the mean. A drafted JPEG is never that large.
_REDUCING_GAP = 3.0

# Pillow does not promise what it raises on malicious bytes; these are its parsers' own errors and what Python raises
# when they trust a number too much.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    Image.DecompressionBombError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A whole JPEG (or MPO), PNG, GIF, WebP or BMP file; of several frames, the first is the picture."""

    data: bytes


@dataclass(frozen=True, slots=True)
class RawPixels:
    """Pixels as they are: uint8, height x width x channels; 1 grey, 3 RGB, 4 RGB with opacity."""

    data: bytes
    height: int
    width: int
    channels: int


@dataclass(frozen=True, slots=True)
class PreparedPixels:
    """Pixels of exactly the model's colours and size, which go to it as they are: uint8, channels x height x width."""

    data: bytes
    channels: int
    height: int
    width: int


Picture: TypeAlias = EncodedImage | RawPixels | PreparedPixels


def decode(image: Picture, spec: InputSpec, max_pixels: int) -> NDArray[numpy.uint8]:
    """Returns the picture as the model sees it: uint8 [H, W, C] as `spec` says, C-contiguous and writable.

    The upright picture is laid over white where it is not opaque, brought to the model's colours, resized so that its
    shorter side has `spec.resize` pixels (antialiased; the longer side rounded down), and cut to its middle. A picture
    whose shorter side has that length already is not resampled. Prepared pixels are only rearranged.

    Args:
        image: the picture.
        spec: what the model takes.
        max_pixels: the largest width x height allowed, judged before any pixel is decoded.

    Raises:
        InvalidImage: the picture cannot be decoded, is too large, or does not fit its declared shape.
    """
    if isinstance(image, PreparedPixels):
        return _rearrange(image, spec)
    if isinstance(image, RawPixels):
        return _fit(_wrap(image, max_pixels), UPRIGHT, spec)
    container = open_container(image.data)
    try:
        return _fit(_open(container, max_pixels), container.orientation, spec)
    except _DAMAGE as error:
        raise InvalidImage(
            ENCODED_FIELD,
            f"the {container.format} file ({len(image.data)} bytes) is damaged, cut short or of an unsupported kind: "
            "send the whole file, or save it anew as an ordinary JPEG or PNG",
        ) from error


def _rearrange(pixels: PreparedPixels, spec: InputSpec) -> NDArray[numpy.uint8]:
    """Brings channels, height, width into the order height, width, channels."""
    sent, wanted = (pixels.channels, pixels.height, pixels.width), (spec.channels, spec.height, spec.width)
    if sent != wanted or len(pixels.data) != spec.channels * spec.height * spec.width:
        raise InvalidImage(
            "image.prepared",
            f"the prepared pixels are {len(pixels.data)} bytes for channels, height, width {sent}, but the model takes "
            f"{wanted}: send exactly these, a byte each",
        )
    return numpy.array(numpy.frombuffer(pixels.data, numpy.uint8).reshape(wanted).transpose(1, 2, 0), order="C")


def _open(container: Container, max_pixels: int) -> Image.Image:
    """Reads the header; the pixels are decoded when they are first needed."""
    _check_size(ENCODED_FIELD, container.canvas, max_pixels)
    image = Image.open(io.BytesIO(container.data), formats=(container.format,))
    _check_size(ENCODED_FIELD, image.size, max_pixels)
    if image.tile and image.tile[0][0] == "bmp_rle":
        # Pillow unpacks these in Python, byte by byte: a kilobyte that claims 50 megapixels takes seconds.
        raise InvalidImage(ENCODED_FIELD, "the BMP file is run-length compressed: save it uncompressed, or as PNG")
    mend_transparency(image)
    return image


def _wrap(pixels: RawPixels, max_pixels: int) -> Image.Image:
    """Checks the declared shape and gives the bytes a picture's interface, without copying them."""
    if pixels.channels not in _RAW_MODES:
        raise InvalidImage(
            "image.pixels.channels", f"channels is {pixels.channels}, but must be 1 (grey), 3 (RGB) or 4 (RGBA)"
        )
    for name, length in (("height", pixels.height), ("width", pixels.width)):
        if length < 1:
            raise InvalidImage(f"image.pixels.{name}", f"{name} is {length}, but must be at least 1")
    _check_size("image.pixels", (pixels.width, pixels.height), max_pixels)
    expected = pixels.height * pixels.width * pixels.channels
    if len(pixels.data) != expected:
        raise InvalidImage(
            "image.pixels.data",
            f"data has {len(pixels.data)} bytes, but height {pixels.height} x width {pixels.width} x "
            f"channels {pixels.channels} needs {expected}: send exactly as many",
        )
    mode = _RAW_MODES[pixels.channels]
    return Image.frombuffer(mode, (pixels.width, pixels.height), pixels.data, "raw", mode, 0, 1)


def _check_size(field: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise InvalidImage(
            field,
            f"the picture has {width} x {height} = {width * height} pixels, but at most {max_pixels} are allowed: "
            "make it smaller",
        )


def _fit(image: Image.Image, orientation: int, spec: InputSpec) -> NDArray[numpy.uint8]:
    """Decodes, resizes and crops in one step: only the part of the resized picture that is kept is ever computed.

    Works on the axes as stored and turns the small result, so that a photograph held upright costs no more. Columns
    and rows are then filtered in the other order, which is worth 0.2 levels in the mean.
    """
    cut = (spec.height, spec.width) if swaps_axes(orientation) else (spec.width, spec.height)
    short = min(image.size)
    resized = [int(spec.resize * length / short) for length in image.size]
    source = _draft(image, resized)
    left, right = _span(resized[0], cut[0], source[0], mirrors_x(orientation))
    top, bottom = _span(resized[1], cut[1], source[1], mirrors_y(orientation))
    plain = recolour(image, "L" if spec.channels == 1 else "RGB")
    small = plain.resize(cut, _FILTERS[spec.interpolation], box=(left, top, right, bottom), reducing_gap=_REDUCING_GAP)
    # A copy, because Pillow's own memory is read-only, which torch would warn about.
    return numpy.array(turn_upright(small, orientation)).reshape(spec.height, spec.width, spec.channels)


def _draft(image: Image.Image, resized: list[int]) -> tuple[float, float]:
    """Lets a large JPEG be decoded at a fraction of its size; returns the picture's extent in the pixels to come.

    The extent may end within the last pixel: 1001 pixels at 1/2 are 500.5 in 501.
    """
    drafted = image.draft(None, (_OVERSAMPLING * resized[0], _OVERSAMPLING * resized[1]))
    return image.size if drafted is None else drafted[1][2:]


def _span(resized: int, cut: int, source: float, mirrored: bool) -> tuple[float, float]:
    """Returns where the middle `cut` of `resized` pixels begins and ends, in pixels of the source."""
    # Half pixels are rounded to even, as torchvision's CenterCrop does, and seen from the upright picture's side.
    start = round((resized - cut) / 2)
    if mirrored:
        start = resized - cut - start
    return start * source / resized, (start + cut) * source / resized
