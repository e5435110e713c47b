"""Decodes one image to a model's input: uint8 pixels, upright, opaque, in the model's colours and size.

Owns the accepted image formats and the steps of preprocessing. Must not know models beyond their `InputSpec`, nor torch
or gRPC. Any thread may call it, concurrently: calls share no state.
"""

import math

import numpy
from numpy.typing import NDArray
from PIL import Image

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.exif_orientation import UPRIGHT
from linnaeus.server.decoding.image_formats import open_container
from linnaeus.server.decoding.image_header import read_header
from linnaeus.server.decoding.picture_size import check_size
from linnaeus.server.decoding.pillow_reader import read_image
from linnaeus.server.decoding.resize_crop import resize_and_crop, select_scale
from linnaeus.server.errors import InvalidImage
from linnaeus.server.process.freed_memory import FreedMemory
from linnaeus.server.requests.picture import Picture, PreparedPixels, RawPixels

# Prepared pixels up to this size are transposed while the batch is staged; larger ones would delay the device.
_MAX_VIEW_BYTES = 1 << 14
# Pixels whose memory is worth giving back: 32 MB, decoded.
_LARGE_PIXELS = 8_000_000
_freed_memory = FreedMemory()
_RAW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


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
        picture = _image_from_pixels(image, max_pixels)
        return resize_and_crop(picture, select_scale(picture, spec), UPRIGHT, spec)
    try:
        return _decode_file(image.data, spec, max_pixels)
    finally:
        if _is_large(image.data):
            _freed_memory.note()


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


def _decode_file(data: bytes, spec: InputSpec, max_pixels: int) -> NDArray[numpy.uint8]:
    container = open_container(data)
    image, scaling = read_image(container, max_pixels, lambda image: select_scale(image, spec))
    return resize_and_crop(image, scaling, container.orientation, spec)


def _is_large(data: bytes) -> bool:
    header = read_header(data)
    return header is not None and header.width * header.height > _LARGE_PIXELS


def _image_from_pixels(pixels: RawPixels, max_pixels: int) -> Image.Image:
    """Checks the declared shape and returns a Pillow image that shares the bytes."""
    if pixels.channels not in _RAW_MODES:
        raise InvalidImage(
            "image.pixels.channels", f"channels is {pixels.channels}, but must be 1 (grey), 3 (RGB) or 4 (RGBA)"
        )
    for name, length in (("height", pixels.height), ("width", pixels.width)):
        if length < 1:
            raise InvalidImage(f"image.pixels.{name}", f"{name} is {length}, but must be at least 1")
    check_size("image.pixels", (pixels.width, pixels.height), max_pixels)
    expected = pixels.height * pixels.width * pixels.channels
    if len(pixels.data) != expected:
        raise InvalidImage(
            "image.pixels.data",
            f"data has {len(pixels.data)} bytes, but height {pixels.height} x width {pixels.width} x "
            f"channels {pixels.channels} needs {expected}: send exactly as many",
        )
    mode = _RAW_MODES[pixels.channels]
    return Image.frombuffer(mode, (pixels.width, pixels.height), pixels.data, "raw", mode, 0, 1)
