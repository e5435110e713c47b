"""Converts anything that holds an image into the message `Image`.

Handles files and bytes itself; `arrays` and `pillow` handle pixels. Nothing here looks inside a file: whether it holds
an image is for the server to say.
"""

import os
from typing import Any, BinaryIO, TypeAlias

from linnaeus.client.errors import InvalidImage
from linnaeus.client.images.arrays import PixelArray, array_message
from linnaeus.client.images.pillow import PillowImage, pillow_message
from linnaeus.client.transport.message_size import MEBIBYTE, check_message_size
from linnaeus.v1 import classifier_pb2 as messages

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | PillowImage | PixelArray
)  # a path, a file's content, an open binary file, a Pillow image, uint8 pixels


def image_message(image: ImageSource, *, image_id: str = "", limit_bytes: int) -> messages.Image:
    """Returns the message for an image.

    Args:
        image: a path, a file's content, an open binary file, a Pillow image, or a uint8 array of shape [H, W],
            [H, W, 1], [H, W, 3] or [H, W, 4].
        image_id: returned with the answer.
        limit_bytes: the size of one message. A larger file or array is neither read nor copied if its size is known.

    Raises:
        InvalidImage: if the image cannot be read, is empty or too large, or is of an unsupported type.
    """
    message = _content(image, limit_bytes)
    message.id = image_id
    return message


def read_file(path: str | os.PathLike[str], limit_bytes: int) -> bytes:
    """Reads an image file.

    Raises:
        InvalidImage: if the file is missing, unreadable, a directory, empty or too large. The message begins with the
            path.
    """
    try:
        with open(path, "rb") as file:
            check_message_size(os.fstat(file.fileno()).st_size, limit_bytes, subject=f"{path}: the file")
            content = _read(file, limit_bytes, subject=f"{path}: the part read so far")
    except (OSError, ValueError) as error:
        raise InvalidImage(f"{path}: {_reason(error)}") from None
    if not content:
        raise InvalidImage(f"{path}: the file is empty")
    return content


def _content(image: Any, limit_bytes: int) -> messages.Image:
    """Dispatches on the type. A Pillow image is tested before an array because it also has the array interface."""
    if isinstance(image, str | os.PathLike):
        return messages.Image(encoded=read_file(image, limit_bytes))
    if isinstance(image, bytes | bytearray | memoryview):
        return _encoded_message(image, limit_bytes)
    if hasattr(image, "save") and hasattr(image, "mode"):
        return pillow_message(image, limit_bytes)
    if hasattr(image, "__array_interface__"):
        return array_message(image, limit_bytes)
    if hasattr(image, "read"):
        return messages.Image(encoded=_read_open_file(image, limit_bytes))
    raise InvalidImage(
        f"cannot read a picture from {_type_name(image)}: pass a path, a file's bytes, an open binary file, "
        "a Pillow image or a uint8 array"
    )


def _encoded_message(content: bytes | bytearray | memoryview, limit_bytes: int) -> messages.Image:
    size_bytes = memoryview(content).nbytes
    if size_bytes == 0:
        raise InvalidImage("the picture is empty: there are no bytes in it")
    check_message_size(size_bytes, limit_bytes, subject="the picture")
    return messages.Image(encoded=bytes(content))


def _read_open_file(file: BinaryIO, limit_bytes: int) -> bytes:
    try:
        content = _read(file, limit_bytes, subject="the part of the file read so far")
    except (OSError, ValueError) as error:
        raise InvalidImage(f"the file object cannot be read: {_reason(error)}") from None
    if not content:
        raise InvalidImage("the file object is empty, or was read to its end before")
    return content


def _read(file: BinaryIO, limit_bytes: int, *, subject: str) -> bytes:
    """Reads to the end of the file or up to the limit: the size of a device file or a socket is not known before."""
    content = bytearray()
    while piece := file.read(MEBIBYTE):
        if not isinstance(piece, bytes):
            raise ValueError("it gives no bytes; open it in binary mode")
        content += piece
        check_message_size(len(content), limit_bytes, subject=subject)
    return bytes(content)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "this is a directory, not a picture file"
    return getattr(error, "strerror", None) or str(error)


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
