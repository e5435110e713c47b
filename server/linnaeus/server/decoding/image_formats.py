"""Recognises the format of an encoded image by its first bytes, and parses its container. Decodes no pixels."""

from linnaeus.server.decoding.bmp_container import open_bmp
from linnaeus.server.decoding.container import ENCODED_FIELD, Container
from linnaeus.server.decoding.gif_container import SIGNATURES, open_gif
from linnaeus.server.decoding.jpeg_container import open_jpeg
from linnaeus.server.decoding.png_container import SIGNATURE, open_png
from linnaeus.server.decoding.webp_container import is_webp, open_webp
from linnaeus.server.errors import InvalidImage


def open_container(data: bytes) -> Container:
    """Parses a JPEG (or MPO), PNG, GIF, WebP or BMP file, recognised by its first bytes.

    Raises:
        InvalidImage: if the data is empty or in another format, or has more parts than its format's limit.
    """
    if not data:
        raise InvalidImage(ENCODED_FIELD, "the picture is empty (0 bytes): send a whole image file")
    container = _open(data)
    container.sent_bytes = len(data)
    return container


def _open(data: bytes) -> Container:
    if data.startswith(b"\xff\xd8\xff"):
        return open_jpeg(data)
    if data.startswith(SIGNATURE):
        return open_png(data)
    if is_webp(data):
        return open_webp(data)
    if data.startswith(SIGNATURES):
        return open_gif(data)
    if data.startswith(b"BM"):
        return open_bmp(data)
    raise InvalidImage(
        ENCODED_FIELD,
        f"the {len(data)} bytes are no picture in a known format (they begin with {data[:8].hex(' ')}): "
        "send a JPEG, PNG, GIF, WebP or BMP file",
    )
