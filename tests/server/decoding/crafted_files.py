"""Files put together byte by byte, for the tests of what no encoder at hand writes."""

import struct
from collections.abc import Iterator

import numpy
from PIL import Image
from tests.server.decoding.image_files import Pixels, png_chunk, save


def tiff(orientation: int, kind: int = 3, count: int = 1, order: str = "<") -> bytes:
    """Returns a TIFF header with one directory of one orientation."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    value = struct.pack(order + ("H2x" if kind == 3 else "I"), orientation)
    return start + struct.pack(order + "HHHI", 1, 0x112, kind, count) + value + bytes(4)


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def frame_control(sequence: int, width: int, height: int, left: int = 0, top: int = 0) -> bytes:
    """Returns the fcTL chunk of an animated PNG."""
    return png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", sequence, width, height, left, top, 1, 10, 0, 0))


def gif_on_canvas(
    frame: Image.Image, canvas: tuple[int, int], place: tuple[int, int], transparent: int | None = None
) -> bytes:
    """Returns a GIF whose first image is a palette image somewhere on a canvas of any size."""
    data = save(frame, "GIF")
    palette_end = 13 + (3 << (data[10] & 7) + 1)
    image = data.index(b",", palette_end)
    control = b"" if transparent is None else b"!\xf9\x04" + bytes([1, 0, 0, transparent, 0])
    position = struct.pack("<HHHH", *place, *frame.size)
    return (
        b"GIF89a" + struct.pack("<HH", *canvas) + data[10:palette_end] + control + b"," + position + data[image + 9 :]
    )


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def webp_canvas(flags: int, width: int, height: int) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def webp_frame(left: int, top: int, frame: Image.Image) -> tuple[bytes, bytes]:
    """Returns a frame of an animated WebP; left and top are even."""
    numbers = (left // 2, top // 2, frame.width - 1, frame.height - 1, 100)
    chunks = riff(*riff_chunks(save(frame, "WEBP", lossless=True)))[12:]
    return b"ANMF", b"".join(number.to_bytes(3, "little") for number in numbers) + b"\0" + chunks


def bmp(
    header: int, size: tuple[int, int], bits: int, compression: int, pixels: bytes, masks: tuple[int, ...] = ()
) -> bytes:
    """Returns a BMP of any header (its length), with masks in the header or, after a short one, behind it."""
    stored = struct.pack(f"<{len(masks)}I", *masks)
    fields = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, compression, len(pixels), 2835, 2835, 0, 0)
    start = fields + (stored if header <= 40 else stored.ljust(header - 40, b"\0")[: header - 40])
    offset = 14 + len(start)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + start + pixels


def bottom_up_bgr(image: Image.Image) -> Pixels:
    """Returns pixels as a BMP stores them."""
    return numpy.asarray(image)[::-1, :, ::-1]
