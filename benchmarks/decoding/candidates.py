"""JPEG decoders that are compared: each decodes, resizes and crops a JPEG to uint8 RGB [224, 224, 3].

All do the same work: the shorter side to 224 pixels (bicubic, with antialias where the library has it), the middle
224x224 cut out.
"""

import importlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from PIL import Image

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.byte_resize import resize
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import EncodedImage

PICTURES = Path(__file__).resolve().parents[2] / "pictures"
SIDE = 224
SPEC = InputSpec(channels=3, height=SIDE, width=SIDE, resize=SIDE, interpolation="bicubic")

Pixels = NDArray[numpy.uint8]
Decoder = Callable[[bytes], Pixels]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A named decoder."""

    name: str
    run: Decoder


def scaled(width: int, height: int) -> tuple[int, int]:
    """Returns the width and height at which the shorter side has 224 pixels."""
    return int(SIDE * width / min(width, height)), int(SIDE * height / min(width, height))


def middle(pixels: Any) -> Any:
    """Cuts the middle 224 x 224 out of [H, W, 3]."""
    top, left = (round((length - SIDE) / 2) for length in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


def fit(image: Image.Image) -> Pixels:
    """Resizes and crops with Pillow, one after the other."""
    return numpy.array(middle(numpy.asarray(image.resize(scaled(*image.size), Image.Resampling.BICUBIC))))


def plain_pillow(data: bytes) -> Pixels:
    """The baseline: all pixels decoded, then resized, then cropped."""
    return fit(Image.open(io.BytesIO(data)).convert("RGB"))


def pillow_fraction(data: bytes) -> Pixels:
    """Decodes at a fraction of the size that leaves twice the pixels needed, by libjpeg-turbo's scaling."""
    image = Image.open(io.BytesIO(data))
    width, height = scaled(*image.size)
    image.draft(None, (2 * width, 2 * height))
    return fit(image.convert("RGB"))


def our_decode(data: bytes) -> Pixels:
    """Decodes as the server does."""
    return decode(EncodedImage(data), SPEC, 100_000_000)


def torchvision_io() -> Decoder:
    """Decodes and resizes on tensors."""
    torch, reader, v2 = (
        importlib.import_module(name) for name in ("torch", "torchvision.io", "torchvision.transforms.v2")
    )
    torch.set_num_threads(1)  # the server decodes several images at a time, one thread each
    resize = v2.functional.resize
    cubic = v2.InterpolationMode.BICUBIC

    def run(data: bytes) -> Pixels:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        chw = reader.decode_jpeg(encoded, mode=reader.ImageReadMode.RGB)
        pixels = resize(chw, [SIDE], interpolation=cubic, antialias=True).permute(1, 2, 0).numpy()
        return numpy.ascontiguousarray(middle(pixels))

    return run


def simplejpeg(fraction: bool) -> Decoder:
    """Decodes with libjpeg-turbo, in full or at a fraction that leaves twice the pixels needed; resizes with Pillow."""
    library = importlib.import_module("simplejpeg")
    least = {"min_height": 2 * SIDE, "min_width": 2 * SIDE, "min_factor": 1} if fraction else {}
    return lambda data: fit(Image.fromarray(library.decode_jpeg(data, **least)))


def simplejpeg_torch() -> Decoder:
    """Combines the fastest decoder with the fastest resize, without the checks of `decode()`."""
    library = importlib.import_module("simplejpeg")

    def run(data: bytes) -> Pixels:
        pixels = library.decode_jpeg(data, min_height=2 * SIDE, min_width=2 * SIDE, min_factor=1)
        height, width = pixels.shape[:2]
        small = resize(pixels, (width, height), scaled(width, height), "bicubic")
        return numpy.ascontiguousarray(middle(small))

    return run


def pyturbojpeg() -> Decoder:
    """Decodes with PyTurboJPEG, whose wheel has no libturbojpeg of its own; resizes with Pillow."""
    turbo = importlib.import_module("turbojpeg")
    decoder = turbo.TurboJPEG()
    return lambda data: fit(Image.fromarray(decoder.decode(data, pixel_format=turbo.TJPF_RGB)))


def opencv(fraction: bool) -> Decoder:
    """Decodes with OpenCV; resizes by area, its only antialiased filter, which is not bicubic."""
    library = importlib.import_module("cv2")
    library.setNumThreads(1)

    def run(data: bytes) -> Pixels:
        flag = library.IMREAD_COLOR
        if fraction:
            shorter = min(Image.open(io.BytesIO(data)).size)
            scale = next((s for s in (8, 4, 2) if shorter // (2 * SIDE) >= s), 1)
            flag = flag if scale == 1 else getattr(library, f"IMREAD_REDUCED_COLOR_{scale}")
        pixels = library.imdecode(numpy.frombuffer(data, numpy.uint8), flag)
        height, width = pixels.shape[:2]
        small = library.resize(pixels, scaled(width, height), interpolation=library.INTER_AREA)
        return numpy.ascontiguousarray(middle(small)[:, :, ::-1])

    return run


def imagecodecs() -> Decoder:
    """Decodes with imagecodecs' libjpeg-turbo; resizes with Pillow."""
    library = importlib.import_module("imagecodecs")
    return lambda data: fit(Image.fromarray(library.jpeg8_decode(data)))


def pyvips() -> Decoder:
    """Decodes, resizes and crops with libvips, which selects fraction and filter."""
    library = importlib.import_module("pyvips")

    def run(data: bytes) -> Pixels:
        image = library.Image.thumbnail_buffer(data, SIDE, height=SIDE, crop="centre")
        return numpy.frombuffer(image.write_to_memory(), numpy.uint8).reshape(image.height, image.width, 3)

    return run


def kornia_rs() -> Decoder:
    """Decodes with kornia's Rust binding of libjpeg-turbo; resizes with Pillow."""
    decoder = importlib.import_module("kornia_rs.io").ImageDecoder()
    return lambda data: fit(Image.fromarray(numpy.asarray(decoder.decode(data))))


def candidates() -> Iterator[Candidate]:
    """Yields the decoders that are installed and prints a line for each other one."""
    yield Candidate("Pillow, whole", plain_pillow)
    yield Candidate("Pillow, fraction", pillow_fraction)
    yield Candidate("decode(): Pillow, torch", our_decode)
    factories: tuple[tuple[str, Callable[[], Decoder]], ...] = (
        ("torchvision.io", torchvision_io),
        ("simplejpeg, whole", lambda: simplejpeg(fraction=False)),
        ("simplejpeg, fraction", lambda: simplejpeg(fraction=True)),
        ("simplejpeg, torch", simplejpeg_torch),
        ("PyTurboJPEG", pyturbojpeg),
        ("OpenCV, whole, area", lambda: opencv(fraction=False)),
        ("OpenCV, fraction, area", lambda: opencv(fraction=True)),
        ("imagecodecs", imagecodecs),
        ("pyvips thumbnail", pyvips),
        ("kornia-rs", kornia_rs),
    )
    probe = jpeg("coffee", (320, 240))
    for name, make in factories:
        try:
            run = make()
            run(probe)
        except (ImportError, OSError, RuntimeError, AttributeError, TypeError) as error:
            print(f"skipped: {name}: {str(error).splitlines()[0]:.90}")
        else:
            yield Candidate(name, run)


def jpeg(picture: str, size: tuple[int, int]) -> bytes:
    """Returns one of the bundled photographs as a JPEG of that size, as a camera would (quality 90, 4:2:0)."""
    stream = io.BytesIO()
    with Image.open(PICTURES / f"{picture}.jpg") as original:
        image = original.resize(size, Image.Resampling.LANCZOS)
    image.save(stream, "JPEG", quality=90, subsampling="4:2:0")
    return stream.getvalue()
