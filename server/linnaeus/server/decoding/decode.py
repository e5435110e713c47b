"""Decodes one image to a model's input: uint8 pixels, upright, opaque, in the model's colours and size.

Owns the accepted image formats and the steps of preprocessing. Must not know models beyond their `InputSpec`, nor torch
or gRPC. Any thread may call it, concurrently: calls share no state.
"""

import io
import math
import struct
import zlib

import numpy
from numpy.typing import NDArray

# Imported explicitly: otherwise the first WebP file makes Pillow import all of its format plugins.
from PIL import Image, WebPImagePlugin  # noqa: F401

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.colour import fix_transparency
from linnaeus.server.decoding.exif_orientation import UPRIGHT
from linnaeus.server.decoding.image_formats import ENCODED_FIELD, Container, open_container
from linnaeus.server.decoding.resize_crop import resize_and_crop
from linnaeus.server.errors import InvalidImage
from linnaeus.server.requests.picture import Picture, PreparedPixels, RawPixels

# `decode` applies the caller's limit to every header. Pillow's limit is process-wide and raises a warning, which a
# thread cannot suppress for itself, so it is disabled once, at import, before any thread decodes.
Image.MAX_IMAGE_PIXELS = None

# Prepared pixels up to this size are transposed while the batch is staged; larger ones would delay the device.
_MAX_VIEW_BYTES = 1 << 14
_RAW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# Pillow does not document what it raises on malformed data. These are the errors of its parsers, and those that Python
# raises when a parser trusts an invalid number.
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
    """Decodes and preprocesses an image for a model.

    The upright image is composited over white, converted to the model's colours, resized so that its shorter side has
    `spec.resize` pixels (antialiased; the longer side rounded down), and center-cropped. An image whose shorter side
    already has that length is not resampled. Prepared pixels are only transposed.

    Args:
        image: the image as received.
        spec: shape and preprocessing of the model's input.
        max_pixels: largest allowed width x height, checked before any pixel is decoded.

    Returns:
        uint8 [H, W, C] as `spec` states, C-contiguous and writable.

    Raises:
        InvalidImage: if the image cannot be decoded, is too large, or does not match its declared shape.
    """
    if isinstance(image, PreparedPixels):
        return _to_channels_last(image, spec)
    if isinstance(image, RawPixels):
        return resize_and_crop(_image_from_pixels(image, max_pixels), UPRIGHT, spec)
    container = open_container(image.data)
    try:
        return resize_and_crop(_read_header(container, max_pixels), container.orientation, spec)
    except _DECODE_ERRORS as error:
        raise InvalidImage(
            ENCODED_FIELD,
            f"the {container.format} file ({len(image.data)} bytes) is damaged, cut short or of an unsupported kind: "
            "send the whole file, or save it anew as an ordinary JPEG or PNG",
        ) from error


def model_input_view(image: Picture, spec: InputSpec) -> NDArray[numpy.uint8] | None:
    """Returns a view of an image that already is the model's input, without copying.

    Returns:
        uint8 [H, W, C] as `spec` states, a read-only view of the bytes, possibly not contiguous; None if the image must
        be passed to `decode`, if only to be refused.
    """
    if isinstance(image, RawPixels):
        shape = image.height, image.width, image.channels
        fits = shape == (spec.height, spec.width, spec.channels) and spec.resize == min(spec.height, spec.width)
        return _view(image.data, shape) if fits else None
    if isinstance(image, PreparedPixels) and len(image.data) <= _MAX_VIEW_BYTES:
        shape = image.channels, image.height, image.width
        pixels = _view(image.data, shape) if shape == (spec.channels, spec.height, spec.width) else None
        return None if pixels is None else pixels.transpose(1, 2, 0)
    return None


def _view(data: bytes, shape: tuple[int, int, int]) -> NDArray[numpy.uint8] | None:
    return numpy.frombuffer(data, numpy.uint8).reshape(shape) if len(data) == math.prod(shape) else None


def _to_channels_last(pixels: PreparedPixels, spec: InputSpec) -> NDArray[numpy.uint8]:
    """Transposes [C, H, W] to [H, W, C]."""
    sent, wanted = (pixels.channels, pixels.height, pixels.width), (spec.channels, spec.height, spec.width)
    if sent != wanted or len(pixels.data) != spec.channels * spec.height * spec.width:
        raise InvalidImage(
            "image.prepared",
            f"the prepared pixels are {len(pixels.data)} bytes for channels, height, width {sent}, but the model takes "
            f"{wanted}: send exactly these, a byte each",
        )
    return numpy.array(numpy.frombuffer(pixels.data, numpy.uint8).reshape(wanted).transpose(1, 2, 0), order="C")


def _read_header(container: Container, max_pixels: int) -> Image.Image:
    """Opens an image without decoding its pixels; Pillow decodes them on first access."""
    _check_size(ENCODED_FIELD, container.canvas, max_pixels)
    image = Image.open(io.BytesIO(container.data), formats=(container.format,))
    _check_size(ENCODED_FIELD, image.size, max_pixels)
    if image.tile and image.tile[0][0] == "bmp_rle":
        # Pillow decodes these in Python, byte by byte: one kilobyte that declares 50 megapixels takes seconds.
        raise InvalidImage(ENCODED_FIELD, "the BMP file is run-length compressed: save it uncompressed, or as PNG")
    fix_transparency(image)
    return image


def _image_from_pixels(pixels: RawPixels, max_pixels: int) -> Image.Image:
    """Checks the declared shape and returns a Pillow image that shares the bytes."""
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
