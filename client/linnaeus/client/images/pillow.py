"""Reads pixels from a Pillow image without importing Pillow: the image's own methods are enough.

| mode | sent as |
|---|---|
| L, RGB, RGBA | pixels, as they are |
| 1 | grey pixels |
| P | RGB pixels, or RGBA if the palette has transparency |
| LA, La, PA, RGBa | RGBA pixels |
| I;16, I;16B, I;16L, I | a 16-bit PNG file, lossless |
| CMYK, YCbCr, HSV, LAB, RGBX | RGB pixels |
| F | refused: its range of values is unknown |

The EXIF orientation is applied, as the server does with files.
"""

import io
from typing import Any, Protocol

from linnaeus.client.errors import InvalidImage
from linnaeus.client.images.arrays import pixels_message
from linnaeus.client.transport.message_size import check_message_size
from linnaeus.v1 import classifier_pb2 as messages

_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_CONVERSIONS = {"1": "L", "LA": "RGBA", "La": "RGBA", "PA": "RGBA", "RGBa": "RGBA"}
_MAX_UINT16 = 65_535

_ORIENTATION = 0x0112
# By EXIF orientation (CIPA DC-008, 4.6.4), the PIL.Image.Transpose that undoes it.
_TRANSPOSE_BY_ORIENTATION = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


class PillowImage(Protocol):
    """The attributes of a PIL.Image.Image that are used here."""

    @property
    def mode(self) -> str: ...  # noqa: D102

    @property
    def size(self) -> tuple[int, int]: ...  # noqa: D102

    @property
    def info(self) -> Any: ...  # noqa: D102

    @property
    def convert(self) -> Any: ...  # noqa: D102

    @property
    def getexif(self) -> Any: ...  # noqa: D102

    @property
    def save(self) -> Any: ...  # noqa: D102

    @property
    def tobytes(self) -> Any: ...  # noqa: D102

    @property
    def transpose(self) -> Any: ...  # noqa: D102


def pillow_message(image: PillowImage, limit_bytes: int) -> messages.Image:
    """Returns the message for a Pillow image.

    Raises:
        InvalidImage: if it cannot be read or converted, or is empty or too large.
    """
    try:
        if 0 in image.size:
            raise InvalidImage(f"the picture has no pixels: its size is {image.size[0]}x{image.size[1]}")
        return _message(_apply_orientation(image), limit_bytes)
    # Pillow reads lazily: a file that is broken or closed fails here, a PNG file with SyntaxError.
    except (OSError, ValueError, SyntaxError) as error:
        raise InvalidImage(f"Pillow cannot read this picture of mode {image.mode}: {error}") from None


def _message(image: PillowImage, limit_bytes: int) -> messages.Image:
    if image.mode == "F":
        raise InvalidImage("a picture of mode F has no known range of values: convert it to L or RGB first")
    if image.mode.startswith("I"):
        return messages.Image(encoded=_png(image))
    width, height = image.size
    mode = _target_mode(image)
    check_message_size(height * width * _CHANNELS[mode], limit_bytes, subject="the picture")
    pixels = image if image.mode == mode else image.convert(mode)
    return pixels_message(pixels.tobytes(), height=height, width=width, channels=_CHANNELS[mode])


def _target_mode(image: PillowImage) -> str:
    if image.mode in _CHANNELS:
        return image.mode
    if image.mode == "P" and "transparency" in image.info:
        return "RGBA"
    return _CONVERSIONS.get(image.mode, "RGB")


def _apply_orientation(image: PillowImage) -> Any:
    method = _TRANSPOSE_BY_ORIENTATION.get(image.getexif().get(_ORIENTATION, 1))
    return image if method is None else image.transpose(method)


def _png(image: Any) -> bytes:
    """Encodes 16 bits per pixel; uint8 pixels would lose half of them."""
    file = io.BytesIO()
    _to_16_bits(image).save(file, format="PNG")
    return file.getvalue()


def _to_16_bits(image: Any) -> Any:
    """Converts mode I, whose 32 bits no PNG file holds, to 16 bits."""
    if image.mode != "I":
        return image
    lowest, highest = image.getextrema()
    if lowest < 0 or highest > _MAX_UINT16:
        raise InvalidImage(
            f"a picture of mode I with values from {lowest} to {highest} does not fit 16 bits: convert it to L first"
        )
    return image.convert("I;16")
