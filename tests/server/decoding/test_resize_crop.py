"""The promises of `linnaeus.server.decoding.resize_crop`: the pixels that a plain decode, resize and crop would give.

The plain way is Pillow's alone: every pixel decoded, turned upright, resized, and the middle cut out.
"""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from linnaeus.models.manifest import InputSpec, read_manifest
from linnaeus.server.decoding.byte_resize import has_kernels
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import EncodedImage, RawPixels
from linnaeus.server.runtime.device import without_profiling

PICTURES = Path(__file__).resolve().parents[3] / "pictures"
MAX_PIXELS = 20_000_000
BUNDLED = ("camera", "chelsea", "coffee")
GENERATED = ("waves", "shapes")
SIZES = [(64, 64), (320, 240), (500, 375), (1280, 960), (4000, 3000)]
SPECS = [
    InputSpec(3, 224, 224, 224, "bicubic"),
    InputSpec(3, 224, 224, 256, "bilinear"),
    InputSpec(3, 97, 131, 140, "bicubic"),
    InputSpec(1, 224, 224, 256, "bicubic"),
    InputSpec(1, 28, 28, 28, "bilinear"),
]
Pixels = NDArray[numpy.uint8]


def draw(name: str, width: int, height: int) -> Image.Image:
    if name == "waves":
        x, y = numpy.linspace(0, 1, width), numpy.linspace(0, 1, height)
        pixels = numpy.empty((height, width, 3), numpy.uint8)
        pixels[:, :, 0], pixels[:, :, 1] = 200 * x + 25, 200 * y[:, None] + 25
        pixels[:, :, 2] = 112 + numpy.outer(30 * numpy.cos(30 * y), numpy.sin(40 * x))
        return Image.fromarray(pixels)
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    for step in range(12):
        left, top = width * (step % 4) / 4, height * (step // 4) / 3
        corner = (left + width / 5, top + height / 4)
        shape = pen.ellipse if step % 2 else pen.rectangle
        shape(((left + 2, top + 1), corner), fill=((97 * step) % 256, (53 * step) % 256, (31 * step + 90) % 256))
    return image


@cache
def jpeg(name: str, size: tuple[int, int], orientation: int = 1) -> bytes:
    """A picture as a JPEG of that size; the camera's is grey."""
    if name in GENERATED:
        image = draw(name, *size)
    else:
        with Image.open(PICTURES / f"{name}.jpg") as original:
            image = original.resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90, exif=exif)
    return stream.getvalue()


def plain(image: Image.Image, spec: InputSpec) -> Pixels:
    """Resize, then crop, in the model's colours."""
    upright = ImageOps.exif_transpose(image).convert("L" if spec.channels == 1 else "RGB")
    short = min(upright.size)
    width, height = (int(spec.resize * length / short) for length in upright.size)
    left, top = round((width - spec.width) / 2), round((height - spec.height) / 2)
    resized = upright.resize((width, height), Image.Resampling[spec.interpolation.upper()])
    cut = resized.crop((left, top, left + spec.width, top + spec.height))
    return numpy.asarray(cut).reshape(spec.height, spec.width, spec.channels)


def run(data: bytes, spec: InputSpec) -> Pixels:
    return decode(EncodedImage(data), spec, MAX_PIXELS)


def mean_difference(one: Pixels, other: Pixels) -> float:
    assert one.shape == other.shape
    return float(numpy.abs(numpy.subtract(one, other, dtype=numpy.int16)).mean())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", BUNDLED + GENERATED)
def test_a_picture_of_any_size_is_within_two_levels_of_a_plain_decode(name: str, size: tuple[int, int]) -> None:
    data = jpeg(name, size)
    with Image.open(io.BytesIO(data)) as image:
        for spec in SPECS:
            assert mean_difference(run(data, spec), plain(image, spec)) < 2, spec


@pytest.mark.parametrize("name", ["waves", "shapes", "camera"])
@pytest.mark.parametrize("size", [(96, 121), (501, 377), (1283, 961)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_within_two_levels_and_cut_at_the_same_place(
    name: str, size: tuple[int, int], orientation: int
) -> None:
    data = jpeg(name, size, orientation)
    with Image.open(io.BytesIO(data)) as image:
        for spec in (InputSpec(3, 61, 84, 91, "bicubic"), InputSpec(1, 61, 50, 75, "bilinear")):
            assert mean_difference(run(data, spec), plain(image, spec)) < 1, spec


@pytest.fixture(scope="module")
def network(repository: Path) -> tuple[InputSpec, Callable[[torch.Tensor], torch.Tensor]]:
    folder = repository / "efficientnet_lite0" / "1"
    return read_manifest(folder).input, torch.jit.load(folder / "model.pt")


@pytest.mark.parametrize("size", SIZES)
def test_the_model_sees_in_it_what_it_sees_after_a_plain_decode(
    size: tuple[int, int], network: tuple[InputSpec, Callable[[torch.Tensor], torch.Tensor]]
) -> None:
    spec, model = network
    files = [jpeg(name, size) for name in BUNDLED + GENERATED]
    plainly = [plain(Image.open(io.BytesIO(data)), spec) for data in files]
    seen = numpy.stack([*(run(data, spec) for data in files), *plainly])
    with torch.inference_mode(), without_profiling():
        best = model(torch.from_numpy(seen).permute(0, 3, 1, 2)).argmax(1)
    assert best[: len(files)].tolist() == best[len(files) :].tolist()


@pytest.mark.parametrize("size", [(500, 375), (90, 70), (1280, 960)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_that_were_not_compressed_are_within_rounding(size: tuple[int, int], channels: int) -> None:
    image = draw("shapes", *size).convert("L" if channels == 1 else "RGB")
    pixels = RawPixels(image.tobytes(), size[1], size[0], channels)
    for interpolation in ("bilinear", "bicubic"):
        spec = InputSpec(channels, 224, 200, 250, interpolation)
        answer = decode(pixels, spec, MAX_PIXELS)
        assert numpy.abs(numpy.subtract(answer, plain(image, spec), dtype=numpy.int16)).max() <= 2


def test_without_torchs_kernels_the_pixels_are_the_same_within_rounding(tmp_path: Path) -> None:
    spec, data = InputSpec(3, 97, 131, 140, "bicubic"), jpeg("coffee", (500, 375))
    (tmp_path / "coffee.jpg").write_bytes(data)
    program = (
        "import sys; from linnaeus.models.manifest import InputSpec\n"
        "from linnaeus.server.decoding.decode import decode\n"
        "from linnaeus.server.requests.picture import EncodedImage\n"
        "from linnaeus.server.decoding.byte_resize import has_kernels\n"
        "if has_kernels(): sys.exit('torch took its kernels although it was told not to')\n"
        "data = open('coffee.jpg', 'rb').read()\n"
        f"decode(EncodedImage(data), {spec!r}, {MAX_PIXELS}).tofile('answer')\n"
    )
    paths = {"PYTHONPATH": ":".join(filter(None, sys.path)), "ATEN_CPU_CAPABILITY": "default"}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=paths, check=True, timeout=60)
    answer = numpy.fromfile(tmp_path / "answer", numpy.uint8).reshape(97, 131, 3)
    assert numpy.abs(numpy.subtract(answer, run(data, spec), dtype=numpy.int16)).max() <= 2


def peak_kilobytes() -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak of memory")
@pytest.mark.parametrize("size", [(2, 3000), (3000, 2), (20, 4000)])
def test_of_a_strip_only_what_is_kept_is_resized(size: tuple[int, int]) -> None:
    pixels = RawPixels(draw("waves", *size).tobytes(), size[1], size[0], 3)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_kilobytes()
    assert decode(pixels, SPECS[0], MAX_PIXELS).shape == (224, 224, 3)
    assert peak_kilobytes() - before < 20_000  # resized whole, they take 30 MB and more


@pytest.mark.skipif(not has_kernels(), reason="hardware: an x86 processor with AVX2, whose byte kernels torch has")
def test_a_photograph_is_resized_by_torchs_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("Pillow resized it")

    monkeypatch.setattr(Image.Image, "resize", refuse)
    for size in ((500, 375), (375, 500), (1280, 960), (4000, 3000), (64, 64)):
        assert decode(EncodedImage(jpeg("waves", size)), SPECS[0], MAX_PIXELS).shape == (224, 224, 3)
