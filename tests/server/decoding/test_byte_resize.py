"""The promises of `linnaeus.server.decoding.byte_resize`: Pillow's pixels, in the calling thread alone."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from linnaeus.server.decoding.byte_resize import has_kernels, resize

NEEDS_KERNELS = pytest.mark.skipif(
    not has_kernels(), reason="hardware: an x86 processor with AVX2, whose byte kernels torch has"
)
SIDES = st.integers(1, 150)


def noise(height: int, width: int, channels: int) -> NDArray[numpy.uint8]:
    """Within the range where bicubic filters do not overshoot.

    What overshoots between the two passes is clipped, and Pillow 13 filters the columns first where that is less work.
    """
    return numpy.random.default_rng(height).integers(48, 208, (height, width, channels), dtype=numpy.uint8)


def pillow(
    pixels: NDArray[numpy.uint8], extent: tuple[float, float], size: tuple[int, int], interpolation: str
) -> NDArray[numpy.uint8]:
    image = Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0])
    resized = image.resize(size, Image.Resampling[interpolation.upper()], box=(0, 0, *extent))
    return numpy.asarray(resized).reshape(size[1], size[0], pixels.shape[2])


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    height=SIDES,
    width=SIDES,
    size=st.tuples(SIDES, SIDES),
    channels=st.sampled_from([1, 3]),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_every_pixel_of_noise_is_pillows_within_rounding(
    height: int, width: int, size: tuple[int, int], channels: int, interpolation: str
) -> None:
    pixels = noise(height, width, channels)
    before = pixels.copy()
    answer = resize(pixels, (width, height), size, interpolation)
    expected = pillow(pixels, (width, height), size, interpolation)
    assert answer.shape == expected.shape and answer.dtype == numpy.uint8
    assert numpy.abs(numpy.subtract(answer, expected, dtype=numpy.int16)).max() <= 2
    assert numpy.array_equal(pixels, before)


@pytest.mark.parametrize("part", [0.125, 0.5, 0.875])
def test_a_picture_that_ends_within_its_last_pixel_is_not_shifted(part: float) -> None:
    pixels, extent, size = noise(91, 131, 3), (130 + part, 90 + part), (44, 31)
    apart = numpy.subtract(
        resize(pixels, extent, size, "bicubic"), pillow(pixels, extent, size, "bicubic"), dtype=numpy.int16
    )
    assert numpy.abs(apart[:-2, :-2]).max() <= 2  # at the end Pillow leaves out what lies beyond the extent


@pytest.mark.parametrize("channels", [1, 3])
def test_the_answer_lies_in_memory_as_it_is_read(channels: int) -> None:
    assert resize(noise(60, 80, channels), (80, 60), (40, 30), "bicubic").flags.c_contiguous


def test_the_size_is_exactly_what_was_asked_for_whatever_the_quotient() -> None:
    for length in (*range(1, 700, 3), 999, 4000, 16_383):
        strip = numpy.zeros((1, length, 1), numpy.uint8)
        for wanted in (1, 7, 28, 149, 224, 256, 298, 341):
            assert resize(strip, (length, 1), (wanted, 2), "bilinear").shape == (2, wanted, 1)


# A process of its own, so that nobody else's threads are counted. Prints how many threads each of two resizes leaves,
# then how many an operation of torch's leaves (a thread would be seen), then torch's setting.
COUNTS_THREADS = """
import os, threading, numpy, torch
from linnaeus.server.decoding.byte_resize import resize

pixels = numpy.zeros((900, 1200, 3), numpy.uint8)

def count_around(work):
    before = len(os.listdir("/proc/self/task"))
    work()
    print(len(os.listdir("/proc/self/task")) - before)

def work_beside():
    for interpolation in ("bilinear", "bicubic"):
        count_around(lambda: resize(pixels, (1200, 900), (600, 450), interpolation))
    count_around(lambda: torch.from_numpy(pixels).to(torch.float32).sin())

torch.set_num_threads(4)
thread = threading.Thread(target=work_beside)
thread.start()
thread.join()
print(torch.get_num_threads())
"""


@NEEDS_KERNELS
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux lists them")
def test_the_calling_thread_does_it_alone_and_torchs_threads_stay_as_they_are() -> None:
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", COUNTS_THREADS], env=paths, capture_output=True, text=True, check=True, timeout=100
    )
    bilinear, bicubic, torchs, setting = map(int, done.stdout.split())
    assert (bilinear, bicubic, setting) == (0, 0, 4) and torchs > 0
