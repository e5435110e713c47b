"""Pixels from a Pillow image, without importing Pillow: its own methods are enough.

| mode | sent as |
|---|---|
| L, RGB, RGBA | pixels, as they are |
| 1 | grey pixels |
| P | RGB pixels, or RGBA where the palette knows transparency |
| LA, La, PA, RGBa | RGBA pixels |
| I;16 and its kin, I | a 16-bit PNG file, without loss |
| CMYK, YCbCr, HSV, LAB, RGBX | RGB pixels |
| F | refused: its range is not known |

A picture that a camera marked as turned is sent upright, as the server does with files.
"""

import io
from typing import Any, Protocol

from linnaeus.client.errors import InvalidImage
from linnaeus.client.images.arrays import pixels_message
from linnaeus.client.transport.message_size import require_room
from linnaeus.v1 import classifier_pb2 as messages

_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_CONVERSIONS = {"1": "L", "LA": "RGBA", "La": "RGBA", "PA": "RGBA", "RGBa": "RGBA"}
_SIXTEEN_BITS = 65_535

_ORIENTATION = 0x0112
# The EXIF orientation (CIPA DC-008, 4.6.4) and the PIL.Image.Transpose that undoes it.
_UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


class Picture(Protocol):
    """What is used of a PIL.Image.Image."""

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


def picture_message(picture: Picture, limit_bytes: int) -> messages.Image:
    """Makes a message of a Pillow image.

    Raises:
        InvalidImage: it cannot be read or converted, has no pixels, or too many.
    """
    try:
        if 0 in picture.size:
            raise InvalidImage(f"the picture has no pixels: its size is {picture.size[0]}x{picture.size[1]}")
        return _message(_upright(picture), limit_bytes)
    # Pillow reads lazily: a file that is broken, or closed by now, fails here, a PNG file with SyntaxError.
    except (OSError, ValueError, SyntaxError) as error:
        raise InvalidImage(f"Pillow cannot read this picture of mode {picture.mode}: {error}") from None


def _message(picture: Picture, limit_bytes: int) -> messages.Image:
    if picture.mode == "F":
        raise InvalidImage("a picture of mode F has no known range of values: convert it to L or RGB first")
    if picture.mode.startswith("I"):
        return messages.Image(encoded=_png(picture))
    width, height = picture.size
    mode = _sent_mode(picture)
    require_room(height * width * _CHANNELS[mode], limit_bytes, subject="the picture")
    pixels = picture if picture.mode == mode else picture.convert(mode)
    return pixels_message(pixels.tobytes(), height=height, width=width, channels=_CHANNELS[mode])


def _sent_mode(picture: Picture) -> str:
    if picture.mode in _CHANNELS:
        return picture.mode
    if picture.mode == "P" and "transparency" in picture.info:
        return "RGBA"
    return _CONVERSIONS.get(picture.mode, "RGB")


def _upright(picture: Picture) -> Any:
    method = _UPRIGHT.get(picture.getexif().get(_ORIENTATION, 1))
    return picture if method is None else picture.transpose(method)


def _png(picture: Any) -> bytes:
    """Saves sixteen bits a pixel; unsigned bytes would lose half of them."""
    file = io.BytesIO()
    _sixteen_bits(picture).save(file, format="PNG")
    return file.getvalue()


def _sixteen_bits(picture: Any) -> Any:
    """Narrows mode I, whose 32 bits no PNG file holds."""
    if picture.mode != "I":
        return picture
    lowest, highest = picture.getextrema()
    if lowest < 0 or highest > _SIXTEEN_BITS:
        raise InvalidImage(
            f"a picture of mode I with values from {lowest} to {highest} does not fit 16 bits: convert it to L first"
        )
    return picture.convert("I;16")
