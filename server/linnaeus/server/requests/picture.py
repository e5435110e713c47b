"""The forms in which a request brings its image."""

from typing import NamedTuple, TypeAlias


class EncodedImage(NamedTuple):
    """A whole JPEG (or MPO), PNG, GIF, WebP or BMP file; of several frames, the first is the picture."""

    data: bytes


class RawPixels(NamedTuple):
    """Pixels as they are: uint8, height x width x channels; 1 grey, 3 RGB, 4 RGB with opacity."""

    data: bytes
    height: int
    width: int
    channels: int


class PreparedPixels(NamedTuple):
    """Pixels of exactly the model's colours and size, which go to it as they are: uint8, channels x height x width."""

    data: bytes
    channels: int
    height: int
    width: int


Picture: TypeAlias = EncodedImage | RawPixels | PreparedPixels
