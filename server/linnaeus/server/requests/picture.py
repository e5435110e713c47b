"""The forms in which a request may carry its image."""

from typing import NamedTuple, TypeAlias


class EncodedImage(NamedTuple):
    """A complete JPEG (or MPO), PNG, GIF, WebP or BMP file; only the first of several frames is used."""

    data: bytes


class RawPixels(NamedTuple):
    """Uncompressed pixels of any size: uint8 [H, W, C], with C = 1 for grey, 3 for RGB, 4 for RGBA."""

    data: bytes
    height: int
    width: int
    channels: int


class PreparedPixels(NamedTuple):
    """Pixels that already have the model's colours and size: uint8 [C, H, W]."""

    data: bytes
    channels: int
    height: int
    width: int


Picture: TypeAlias = EncodedImage | RawPixels | PreparedPixels
