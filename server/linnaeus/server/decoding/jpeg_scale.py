"""Chooses the fraction of its size at which a JPEG is decoded. Must not know files or Pillow."""

from linnaeus.models.manifest import InputSpec

# A JPEG may be decoded at 1/2, 1/4 or 1/8 if at least this many times the needed pixels remain on each axis.
OVERSAMPLING = 2


def resized_size(width: int, height: int, input: InputSpec) -> tuple[int, int]:
    """Returns the size to which an image is resized: its shorter side as the model states, the longer rounded down."""
    short = min(width, height)
    return int(input.resize * width / short), int(input.resize * height / short)


def jpeg_scale(width: int, height: int, input: InputSpec) -> int:
    """Returns 1, 2, 4 or 8: the JPEG is decoded at one over this; 1 if a side is zero."""
    if not (width and height):
        return 1
    scale = min(width, height) // (OVERSAMPLING * input.resize)
    return 8 if scale >= 8 else 4 if scale >= 4 else 2 if scale >= 2 else 1
