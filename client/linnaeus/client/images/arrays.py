"""Pixels from an array, without numpy: anything with `__array_interface__` and a buffer will do.

See https://numpy.org/doc/stable/reference/arrays.interface.html
"""

from typing import Any, Protocol

from linnaeus.client.errors import InvalidImage
from linnaeus.client.transport.message_size import require_room
from linnaeus.v1 import classifier_pb2 as messages

_UNSIGNED_BYTE = "|u1"
_CHANNELS = (1, 3, 4)


class PixelArray(Protocol):
    """A uint8 array of shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], such as numpy's; strides do not matter."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...  # noqa: D105


def array_message(array: PixelArray, limit_bytes: int) -> messages.Image:
    """Makes a message of the array's pixels.

    Raises:
        InvalidImage: the dtype or the shape is none of the above, there are no pixels, or too many.
    """
    interface = array.__array_interface__
    height, width, channels = _shape(array, interface)
    require_room(height * width * channels, limit_bytes, subject="the picture")
    return pixels_message(_pixels(array), height=height, width=width, channels=channels)


def pixels_message(data: bytes, *, height: int, width: int, channels: int) -> messages.Image:
    """Makes a message of unsigned bytes, row by row, the channels of a pixel together."""
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
    """Copies the pixels row by row, whatever the strides."""
    try:
        return memoryview(array).tobytes()
    except (TypeError, BufferError, ValueError) as error:
        raise InvalidImage(f"the array's memory cannot be read: {error}") from None
