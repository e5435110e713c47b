"""From anything that holds a picture to the one message that carries it.

Knows files and bytes itself; `arrays` and `pillow` know the rest. Nothing here looks inside a file: whether it is a
picture is for the server to say.
"""

import os
from typing import Any, BinaryIO, TypeAlias

from linnaeus.client.errors import InvalidImage
from linnaeus.client.images.arrays import PixelArray, array_message
from linnaeus.client.images.pillow import Picture, picture_message
from linnaeus.client.transport.message_size import MEBIBYTE, require_room
from linnaeus.v1 import classifier_pb2 as messages

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Picture | PixelArray
)  # a path, a file's content, an open binary file, a Pillow image, uint8 pixels


def image_message(image: ImageSource, *, image_id: str = "", limit_bytes: int) -> messages.Image:
    """Makes a message of a picture.

    Args:
        image: a path, a file's content, an open binary file, a Pillow image, or a uint8 array of shape [H, W],
            [H, W, 1], [H, W, 3] or [H, W, 4].
        image_id: returned with the answer.
        limit_bytes: what one message may hold; more is refused without being read or copied where the size is known.

    Raises:
        InvalidImage: it cannot be read, is empty, too large, or no picture at all.
    """
    message = _content(image, limit_bytes)
    message.id = image_id
    return message


def read_file(path: str | os.PathLike[str], limit_bytes: int) -> bytes:
    """Reads a picture file whole.

    Raises:
        InvalidImage: it is missing, unreadable, a directory, empty or too large; the message begins with the path.
    """
    try:
        with open(path, "rb") as file:
            require_room(os.fstat(file.fileno()).st_size, limit_bytes, subject=f"{path}: the file")
            content = _read(file, limit_bytes, subject=f"{path}: the part read so far")
    except (OSError, ValueError) as error:
        raise InvalidImage(f"{path}: {_reason(error)}") from None
    if not content:
        raise InvalidImage(f"{path}: the file is empty")
    return content


def _content(image: Any, limit_bytes: int) -> messages.Image:
    """Tells the kinds apart; a Pillow image comes before an array because it can pass for one."""
    if isinstance(image, str | os.PathLike):
        return messages.Image(encoded=read_file(image, limit_bytes))
    if isinstance(image, bytes | bytearray | memoryview):
        return _encoded_message(image, limit_bytes)
    if hasattr(image, "save") and hasattr(image, "mode"):
        return picture_message(image, limit_bytes)
    if hasattr(image, "__array_interface__"):
        return array_message(image, limit_bytes)
    if hasattr(image, "read"):
        return messages.Image(encoded=_read_open_file(image, limit_bytes))
    raise InvalidImage(
        f"cannot read a picture from {_kind(image)}: pass a path, a file's bytes, an open binary file, "
        "a Pillow image or a uint8 array"
    )


def _encoded_message(content: bytes | bytearray | memoryview, limit_bytes: int) -> messages.Image:
    size_bytes = memoryview(content).nbytes
    if size_bytes == 0:
        raise InvalidImage("the picture is empty: there are no bytes in it")
    require_room(size_bytes, limit_bytes, subject="the picture")
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
    """Reads to the end, or until it is too much: a device file or a socket has no size to ask for."""
    content = bytearray()
    while piece := file.read(MEBIBYTE):
        if not isinstance(piece, bytes):
            raise ValueError("it gives no bytes; open it in binary mode")
        content += piece
        require_room(len(content), limit_bytes, subject=subject)
    return bytes(content)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "this is a directory, not a picture file"
    return getattr(error, "strerror", None) or str(error)


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
