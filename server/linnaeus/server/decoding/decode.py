"""Turns one picture into a model's input: uint8 pixels, upright, opaque, in the model's colours and size.

Owns what counts as a picture and how one becomes pixels; knows nothing of models beyond their `InputSpec`, and
nothing of torch or gRPC. Any thread may call `decode`, and any number at the same time: calls share no state.
"""

import io
import math
import struct
import zlib

import numpy
from numpy.typing import NDArray

# The WebP part is imported here, or the first WebP file would make Pillow import every format it knows.
from PIL import Image, WebPImagePlugin  # noqa: F401

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.colour import fix_transparency
from linnaeus.server.decoding.exif_orientation import UPRIGHT
from linnaeus.server.decoding.image_formats import ENCODED_FIELD, Container, open_container
from linnaeus.server.decoding.resize_crop import resize_and_crop
from linnaeus.server.errors import InvalidImage
from linnaeus.server.requests.picture import Picture, PreparedPixels, RawPixels

# `decode` applies the caller's own limit to every header. Pillow's is one for the whole process and comes as a warning,
# which threads cannot silence for themselves, so it is turned off here, once, before any thread decodes.
Image.MAX_IMAGE_PIXELS = None

# Prepared pixels up to here are put into order by whoever stages the batch; more would keep the device waiting.
_SMALL_BYTES = 1 << 14
_RAW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# Pillow does not promise what it raises on malicious bytes; these are its parsers' own errors and what Python raises
# when they trust a number too much.
_DECODE_ERRORS = (
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
        return resize_and_crop(_wrap(image, max_pixels), UPRIGHT, spec)
    container = open_container(image.data)
    try:
        return resize_and_crop(_open(container, max_pixels), container.orientation, spec)
    except _DECODE_ERRORS as error:
        raise InvalidImage(
            ENCODED_FIELD,
            f"the {container.format} file ({len(image.data)} bytes) is damaged, cut short or of an unsupported kind: "
            "send the whole file, or save it anew as an ordinary JPEG or PNG",
        ) from error


def model_input_view(image: Picture, spec: InputSpec) -> NDArray[numpy.uint8] | None:
    """The picture as the model sees it, if its bytes are that already; costs next to nothing.

    Returns:
        uint8 [H, W, C] as `spec` says, a read-only view of the bytes, perhaps in another order; None for a picture that
        `decode` has to see, be it only to say what is wrong with it.
    """
    if isinstance(image, RawPixels):
        shape = image.height, image.width, image.channels
        fits = shape == (spec.height, spec.width, spec.channels) and spec.resize == min(spec.height, spec.width)
        return _view(image.data, shape) if fits else None
    if isinstance(image, PreparedPixels) and len(image.data) <= _SMALL_BYTES:
        shape = image.channels, image.height, image.width
        pixels = _view(image.data, shape) if shape == (spec.channels, spec.height, spec.width) else None
        return None if pixels is None else pixels.transpose(1, 2, 0)
    return None


def _view(data: bytes, shape: tuple[int, int, int]) -> NDArray[numpy.uint8] | None:
    return numpy.frombuffer(data, numpy.uint8).reshape(shape) if len(data) == math.prod(shape) else None


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
    fix_transparency(image)
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
