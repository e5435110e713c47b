"""Measures which decoder turns a JPEG into a model's input fastest, and how far its pixels are from plain Pillow's.

    .venv/bin/python -m benchmarks.decoding.jpeg_decoders [--rounds 15]

Every candidate does the same work: JPEG to uint8 RGB, shorter side to 224 pixels (bicubic, with antialias where the
library has it), the middle 224 x 224 cut out. The candidates take turns within a round, so that a slow spell of the
machine hits all of them; the median over the rounds is shown. What is not installed is skipped with a line. Needs
Pillow and numpy; install the others to compare: torchvision, simplejpeg, PyTurboJPEG (which needs
libturbojpeg besides), opencv-python-headless, imagecodecs, kornia-rs, pyvips with pyvips-binary.
"""

import argparse
import importlib
import io
import statistics
import threading
import time
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
SIZES = ((500, 375), (1280, 960), (4000, 3000))
MILLISECONDS = 1000
PAIRS = 9
# How often the photographs are decoded in one turn: 20 ms at least.
REPEATS = {500: 10, 1280: 3, 4000: 1}

Pixels = NDArray[numpy.uint8]
Decoder = Callable[[bytes], Pixels]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way from JPEG bytes to uint8 [224, 224, 3]."""

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
    """Lets libjpeg-turbo decode at a fraction that leaves twice the pixels needed."""
    image = Image.open(io.BytesIO(data))
    width, height = scaled(*image.size)
    image.draft(None, (2 * width, 2 * height))
    return fit(image.convert("RGB"))


def our_decode(data: bytes) -> Pixels:
    """What the server does."""
    return decode(EncodedImage(data), SPEC, 100_000_000)


def torchvision_io() -> Decoder:
    """Decodes and resizes on tensors."""
    torch, reader, v2 = (
        importlib.import_module(name) for name in ("torch", "torchvision.io", "torchvision.transforms.v2")
    )
    torch.set_num_threads(1)  # the server decodes several pictures at a time, one thread each
    resize = v2.functional.resize
    cubic = v2.InterpolationMode.BICUBIC

    def run(data: bytes) -> Pixels:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        chw = reader.decode_jpeg(encoded, mode=reader.ImageReadMode.RGB)
        pixels = resize(chw, [SIDE], interpolation=cubic, antialias=True).permute(1, 2, 0).numpy()
        return numpy.ascontiguousarray(middle(pixels))

    return run


def simplejpeg(fraction: bool) -> Decoder:
    """Decodes with libjpeg-turbo, whole or at a fraction that leaves twice the pixels needed; resizes with Pillow."""
    library = importlib.import_module("simplejpeg")
    least = {"min_height": 2 * SIDE, "min_width": 2 * SIDE, "min_factor": 1} if fraction else {}
    return lambda data: fit(Image.fromarray(library.decode_jpeg(data, **least)))


def simplejpeg_torch() -> Decoder:
    """The fastest decoder with the fastest resize; without the checks of `decode()`."""
    library = importlib.import_module("simplejpeg")

    def run(data: bytes) -> Pixels:
        pixels = library.decode_jpeg(data, min_height=2 * SIDE, min_width=2 * SIDE, min_factor=1)
        height, width = pixels.shape[:2]
        small = resize(pixels, (width, height), scaled(width, height), "bicubic")
        return numpy.ascontiguousarray(middle(small))

    return run


def pyturbojpeg() -> Decoder:
    """The same through PyTurboJPEG, whose wheel brings no libturbojpeg of its own."""
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
    """Lets libvips choose fraction and filter, and crop."""
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
    """Yields what can be measured here; says what cannot."""
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


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Times one call."""
    start = clock()
    work()
    return clock() - start


def take_turns(
    works: list[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[list[float]]:
    """Times every work once a round, another one first each time, and returns the seconds of each."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds):
        for step in range(len(works)):
            place = (number + step) % len(works)
            times[place].append(seconds(works[place], clock))
    return times


def all_of(run: Decoder, files: list[bytes]) -> Callable[[], object]:
    """Returns the work of decoding every file once."""
    return lambda: [run(data) for data in files]


def on_threads(work: Callable[[], object], count: int) -> Callable[[], None]:
    """Returns the work of doing `work` on each of `count` threads at the same time."""

    def together() -> None:
        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return together


def mean_difference(run: Decoder, files: list[bytes]) -> float:
    """Returns the mean absolute distance to plain Pillow in levels of 0 to 255."""
    return statistics.fmean(
        float(numpy.abs(run(data).astype(numpy.int16) - plain_pillow(data)).mean()) for data in files
    )


def bench_decode() -> None:
    """Prints what `decode()` takes of plain Pillow's time: the part of `make bench`."""
    print(f"\ndecode, resize and crop of a JPEG to {SIDE}x{SIDE}, one thread, {PAIRS} pairs in turns:")
    for size, most in zip(SIZES, (0.6, 0.35, 0.15), strict=True):
        files = [jpeg(picture, size) for picture in ("coffee", "chelsea")] * REPEATS[size[0]]
        works = [all_of(plain_pillow, files), all_of(our_decode, files)]
        take_turns(works, 1)
        plain, ours = take_turns(works, PAIRS)
        ratios = [one / other for one, other in zip(ours, plain, strict=True)]
        each = [MILLISECONDS * statistics.median(times) / len(files) for times in (ours, plain)]
        print(
            f"  {size[0]}x{size[1]}: decode() {each[0]:.2f} ms : plain Pillow {each[1]:.2f} ms"
            f" = {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f} (at most {most})"
        )


def measure(size: tuple[int, int], contestants: list[Candidate], rounds: int) -> None:
    """Prints the table for one size of picture."""
    files = [jpeg(picture, size) for picture in ("coffee", "chelsea")]
    works = [all_of(one.run, files) for one in contestants]
    alone = [statistics.median(times) for times in take_turns(works, rounds)]
    processor = [statistics.median(times) for times in take_turns(works, rounds, time.process_time)]
    # The best and not the median: a neighbour on the second core would look like a GIL that is held.
    pairs = [min(times) for times in take_turns([on_threads(work, n) for work in works for n in (1, 2)], rounds)]
    print(f"\n{size[0]} x {size[1]}, {sum(map(len, files)) // len(files) // 1024} KiB a file, {rounds} rounds")
    print(f"{'decoder':<26}{'ms':>9}{'of plain':>10}{'cpu ms':>9}{'off by':>9}{'2 threads':>11}")
    for place, one in enumerate(contestants):
        wall, cpu = (MILLISECONDS * times[place] / len(files) for times in (alone, processor))
        speedup = 2 * pairs[2 * place] / pairs[2 * place + 1]
        print(
            f"{one.name:<26}{wall:>9.2f}{alone[place] / alone[0]:>10.2f}{cpu:>9.2f}"
            f"{mean_difference(one.run, files):>9.2f}{speedup:>10.2f}x"
        )


def main() -> None:
    """Measures everything and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15, help="how often each candidate takes its turn")
    rounds = parser.parse_args().rounds
    contestants = list(candidates())
    for size in SIZES:
        measure(size, contestants, rounds)
    print("\nof plain: time over plain Pillow's. cpu: processor time of all threads.")
    print("off by: mean absolute difference to plain Pillow's pixels, in levels of 0 to 255.")
    print("2 threads: pictures a second on two threads over one; 2 where two cores are free and the GIL is let go.")


if __name__ == "__main__":
    main()
