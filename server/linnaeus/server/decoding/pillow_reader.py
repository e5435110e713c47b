"""Lets Pillow decode the pixels of a parsed file, and tells the sender's faults from the server's.

Owns all of Pillow's reading of files. Must not know resizing, models beyond the scale that is asked for, or gRPC.
"""

import io
import logging
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from linnaeus.server.decoding.bmp_masks import unpack
from linnaeus.server.decoding.colour import fix_transparency, place_on_white
from linnaeus.server.decoding.container import ENCODED_FIELD, Container
from linnaeus.server.decoding.early_end import END_OF_IMAGE, misses_much
from linnaeus.server.decoding.picture_size import check_size
from linnaeus.server.errors import InvalidImage
from linnaeus.server.process.limited_log import LimitedLog

# `check_size` applies the caller's limit to every header. Pillow's limit is process-wide and raises a warning, which a
# thread cannot suppress for itself, so it is disabled once, at import, before any thread decodes.
Image.MAX_IMAGE_PIXELS = None

# Opened by these, not by `Image.open`, which looks for the format once more: a twentieth of a small PNG's time. It
# would also import all of Pillow's formats at the first damaged file.
_FILES: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
}

# Pillow does not document what it raises on malformed data. These are the errors of its parsers, and those that Python
# raises when a parser trusts an invalid number. An OSError is one of them if it has no error number of the system.
_DATA_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    Image.DecompressionBombError,
    LookupError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_OUT_OF_MEMORY = "out of memory"  # how Pillow's codecs begin their message, without an error number

_early_ends = LimitedLog(logging.getLogger(__name__), logging.WARNING)
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")


class DamagedFile(InvalidImage):
    """Pillow cannot decode the file."""


def read_image(
    container: Container, max_pixels: int, prepare: Callable[[Image.Image], Prepared]
) -> tuple[Image.Image, Prepared]:
    """Decodes a file, and completes a JPEG that ends a little early, as browsers do.

    Args:
        container: the parsed file.
        max_pixels: largest allowed width x height, checked before any pixel is decoded.
        prepare: called with the image before its pixels are decoded; may select a scale.

    Returns:
        The image with all of its pixels, and what `prepare` returned.

    Raises:
        InvalidImage: if the file is damaged or too large. Errors that are not the file's are not caught.
    """
    try:
        return _read(container, max_pixels, prepare)
    except DamagedFile:
        if container.format != "JPEG":
            raise
        image, prepared = _read(replace(container, data=container.data + END_OF_IMAGE), max_pixels, prepare)
        if misses_much(image, container.data):
            raise
    _early_ends.log("decoded a JPEG of %d bytes that ends early; its last rows may be missing", container.sent_bytes)
    return image, prepared


def _read(
    container: Container, max_pixels: int, prepare: Callable[[Image.Image], Prepared]
) -> tuple[Image.Image, Prepared]:
    check_size(ENCODED_FIELD, container.canvas, max_pixels)
    if container.masked is not None:
        image = _unpack(container)
        return image, prepare(image)
    file = _blaming_the_file(container, lambda: _FILES[container.format](io.BytesIO(container.data)))
    check_size(ENCODED_FIELD, file.size, max_pixels)
    if file.mode == "P" and file.palette is None:  # a PNG that lost it; Pillow decodes it and fails at its colours
        raise _damaged(container)
    fix_transparency(file)
    if container.place is None:
        prepared = prepare(file)
        _blaming_the_file(container, file.load)
        return file, prepared
    _blaming_the_file(container, file.load)
    image = place_on_white(file, container.canvas, container.place)
    return image, prepare(image)


def _unpack(container: Container) -> Image.Image:
    masked = container.masked
    if masked is None or min(masked.width, masked.height) < 1 or len(container.data) < masked.end or not masked.valid:
        raise _damaged(container)
    return unpack(container.data, masked)


def _blaming_the_file(container: Container, call: Callable[[], Result]) -> Result:
    """Turns what Pillow raises about the data into a refusal; lets errors of the system pass."""
    try:
        return call()
    except OSError as error:
        if error.errno is not None or str(error).startswith(_OUT_OF_MEMORY):
            raise
        raise _damaged(container) from error
    except _DATA_ERRORS as error:
        raise _damaged(container) from error


def _damaged(container: Container) -> InvalidImage:
    return DamagedFile(
        ENCODED_FIELD,
        f"the {container.format} file ({container.sent_bytes} bytes) is damaged, cut short or of an unsupported kind: "
        "send the whole file, or save it anew as an ordinary JPEG or PNG",
    )
