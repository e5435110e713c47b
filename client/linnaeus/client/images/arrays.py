"""Reads pixels from an array without importing numpy: `__array_interface__` and a buffer are enough.

See https://numpy.org/doc/stable/reference/arrays.interface.html
"""

from typing import Any, Protocol

from linnaeus.client.errors import InvalidImage
from linnaeus.client.transport.message_size import check_message_size
from linnaeus.v1 import classifier_pb2 as messages

_UNSIGNED_BYTE = "|u1"
_CHANNELS = (1, 3, 4)


class PixelArray(Protocol):
    """A uint8 array of shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], such as numpy's, with any strides."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...  # noqa: D105


def array_message(array: PixelArray, limit_bytes: int) -> messages.Image:
    """Returns the message for an array of pixels.

    Raises:
        InvalidImage: if the dtype or the shape is unsupported, or the array is empty or too large.
    """
    interface = array.__array_interface__
    height, width, channels = _shape(array, interface)
    check_message_size(height * width * channels, limit_bytes, subject="the picture")
    return pixels_message(_pixels(array), height=height, width=width, channels=channels)


def pixels_message(data: bytes, *, height: int, width: int, channels: int) -> messages.Image:
    """Returns the message for uint8 pixels in the order [H, W, C]."""
    return messages.Image(pixels=messages.RawPixels(data=data, height=height, width=width, channels=channels))


def _shape(array: PixelArray, interface: dict[str, Any]) -> tuple[int, int, int]:
    """Returns height, width and channels."""
    shape = tuple(interface["shape"])
    channels = shape[2] if len(shape) == 3 else 1
    if interface["typestr"] != _UNSIGNED_BYTE or len(shape) not in (2, 3) or channels not in _CHANNELS:
        raise InvalidImage(
            f"the array is {getattr(array, 'dtype', interface['typestr'])} {list(shape)}: "
            "pass uint8 of shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
        )
    if 0 in shape:
        raise InvalidImage(f"the array has no pixels: its shape is {list(shape)}")
    return shape[0], shape[1], channels


def _pixels(array: Any) -> bytes:
    """Copies the pixels in C order, whatever the strides."""
    try:
        return memoryview(array).tobytes()
    except (TypeError, BufferError, ValueError) as error:
        raise InvalidImage(f"the array's memory cannot be read: {error}") from None
