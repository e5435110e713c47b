"""What the parsers of the file formats return: an encoded image, prepared for Pillow.

The parsers keep what tells the pixels and drop the rest, because Pillow parses metadata in Python when it opens a file:
malformed EXIF, MPO and APNG parts cause warnings (process-wide state, which a thread cannot suppress for itself),
compressed text costs time, and a GIF's disposal method allocates memory for a frame of any size. Their own walks are
bounded, too: a file of more parts than any camera or editor writes is refused.
"""

from dataclasses import dataclass

from linnaeus.server.decoding.bmp_masks import MaskedPixels
from linnaeus.server.decoding.exif_orientation import UPRIGHT
from linnaeus.server.errors import InvalidImage

ENCODED_FIELD = "image.encoded"


@dataclass(slots=True)  # not frozen, which takes three times as long to create
class Container:
    """An encoded image for Pillow to open.

    Attributes:
        format: Pillow's name of the format.
        data: a file with the picture that a browser shows first, without metadata.
        orientation: EXIF orientation, 1 (upright) to 8.
        canvas: width and height in pixels, where they must be checked before Pillow opens the file, or where the
            picture is larger than its first frame; zero otherwise.
        place: left and top of the frame within the canvas, whose other pixels are transparent; None if the frame
            covers the canvas.
        masked: of a BMP whose pixels are divided by masks, where they are; Pillow does not open it.
        sent_bytes: length of the file as it was sent, for messages.
    """

    format: str
    data: bytes
    orientation: int = UPRIGHT
    canvas: tuple[int, int] = (0, 0)
    place: tuple[int, int] | None = None
    masked: MaskedPixels | None = None
    sent_bytes: int = 0


def too_many(format: str, limit: int, parts: str) -> InvalidImage:
    """Returns the refusal of a file with more parts than any encoder writes."""
    return InvalidImage(
        ENCODED_FIELD, f"the {format} file has more than {limit} {parts}: save it anew as an ordinary JPEG or PNG"
    )
