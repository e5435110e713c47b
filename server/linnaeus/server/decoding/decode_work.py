"""States how much work it is to decode an image for a model, by what the image's header says.

Owns the names of the kinds of work; must not know how long any of them takes. Runs on the event loop: see
`image_header`.
"""

from typing import NamedTuple

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.image_header import ImageHeader, read_header
from linnaeus.server.decoding.jpeg_scale import jpeg_scale

UNKNOWN = "unknown"


class DecodeWork(NamedTuple):
    """The work to decode one image. Images of one kind take a time that grows with their pixels.

    Attributes:
        kind: format, coding and, for a JPEG, the fraction of the size at which it is decoded: `JPEG progressive 1/4`,
            `PNG plain`; one of about forty. `unknown` if the header cannot be read.
        pixels: pixels of the stored image, at full size, as the header claims; they may be more than are allowed,
            and the image is then refused before any is decoded. For an unknown kind, the bytes of the file.
    """

    kind: str
    pixels: int


def decode_work(data: bytes, input: InputSpec) -> DecodeWork:
    """Returns the work to decode an encoded image for a model's input. Never raises."""
    header = read_header(data)
    if header is None:
        return DecodeWork(UNKNOWN, len(data))
    return DecodeWork(_kind(header, input), header.width * header.height)


def _kind(header: ImageHeader, input: InputSpec) -> str:
    name, width, height, coding = header
    if name != "JPEG":
        return f"{name} {coding}"
    return f"{name} {coding} 1/{jpeg_scale(width, height, input)}"
