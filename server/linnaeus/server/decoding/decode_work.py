"""States how much work it is to decode an image for a model, by what the image's header says.

Owns the names of the kinds of work; must not know how long any of them takes. Runs on the event loop: see
`image_header`.
"""

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.image_header import ImageHeader, read_header
from linnaeus.server.decoding.jpeg_scale import jpeg_scale
from linnaeus.server.requests.picture import EncodedImage, Picture
from linnaeus.server.scheduling import DecodeWork

UNKNOWN = "unknown"


def picture_work(image: Picture, spec: InputSpec, max_pixels: int) -> DecodeWork:
    """Returns the work to make a picture the model's input. Never raises.

    Args:
        image: the picture as received.
        spec: the model's input.
        max_pixels: largest allowed width x height; a picture with more is refused before any pixel is decoded.
    """
    if isinstance(image, EncodedImage):
        work = decode_work(image.data, spec)
        return work if work.pixels <= max_pixels else work._replace(pixels=0)
    return DecodeWork("pixels", len(image.data) // max(image.channels, 1))


def decode_work(data: bytes, input: InputSpec) -> DecodeWork:
    """Returns the work to decode an encoded image for a model's input. Never raises.

    Its kind is the format, the coding and, for a JPEG, the fraction of the size at which it is decoded, such as
    `JPEG progressive 1/4` or `PNG plain`; one of about forty. Its pixels are those of the stored image, as the header
    claims. If the header cannot be read, the kind is `unknown`, and the pixels are as many as the file has bytes.
    """
    header = read_header(data)
    if header is None:
        return DecodeWork(UNKNOWN, len(data))
    return DecodeWork(_kind(header, input), header.width * header.height)


def _kind(header: ImageHeader, input: InputSpec) -> str:
    name, width, height, coding = header
    if name != "JPEG":
        return f"{name} {coding}"
    return f"{name} {coding} 1/{jpeg_scale(width, height, input)}"
