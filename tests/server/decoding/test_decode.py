"""Tests of `decode`: shape, resize and crop, reduced decoding, and concurrent calls."""

import io
import threading
import tracemalloc

import numpy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.server.decoding.image_files import (
    DIGIT,
    PHOTO,
    SMALL,
    SMALL_GREY,
    difference,
    noise,
    photograph,
    resize_then_crop,
    run,
    save,
)

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import RawPixels


@pytest.mark.parametrize("spec", [DIGIT, PHOTO, InputSpec(3, 30, 50, 60, "bilinear")])
def test_the_result_is_contiguous_writable_uint8_of_the_models_shape(spec: InputSpec) -> None:
    pixels = run(save(photograph(90, 70), "JPEG"), spec)
    assert pixels.shape == (spec.height, spec.width, spec.channels)
    assert pixels.dtype == numpy.uint8 and pixels.flags.c_contiguous and pixels.flags.writeable


def test_pixels_of_the_models_own_size_are_unchanged() -> None:
    digit = noise(28, 28)
    assert numpy.array_equal(run(save(Image.fromarray(digit), "PNG"), DIGIT)[:, :, 0], digit)
    assert numpy.array_equal(decode(RawPixels(digit.tobytes(), 28, 28, 1), DIGIT, 784)[:, :, 0], digit)


def test_an_image_whose_shorter_side_fits_is_cropped_and_not_resampled() -> None:
    wide = noise(24, 41, 3)
    assert numpy.array_equal(run(save(Image.fromarray(wide), "PNG")), wide[:, 8:32])


@example(width=1, height=3, crop=(1, 1), margin=3, interpolation="bilinear")  # enlarged, and cut to one pixel
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    crop=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    margin=st.integers(0, 20),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_one_step_equals_resize_then_crop_within_rounding(
    width: int, height: int, crop: tuple[int, int], margin: int, interpolation: str
) -> None:
    resize = max(max(crop) + margin, -(-min(width, height) // 5))  # larger images are box-averaged first
    spec = InputSpec(3, *crop, resize, interpolation)
    image = photograph(width, height)
    apart = difference(run(save(image, "PNG"), spec), resize_then_crop(image, spec))
    assert apart.max() <= 2 and apart.mean() < 0.5


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 60_000), (1, 1)])
@pytest.mark.parametrize("spec", [PHOTO, SMALL_GREY])
def test_an_extreme_aspect_ratio_needs_no_huge_intermediate_image(size: tuple[int, int], spec: InputSpec) -> None:
    data = save(photograph(*size), "PNG")
    tracemalloc.start()
    assert run(data, spec).shape == (spec.height, spec.width, spec.channels)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_box_averaging_a_large_image_stays_close_to_plain_resizing() -> None:
    image = photograph(2000, 1500)
    assert difference(run(save(image, "PNG")), resize_then_crop(image, SMALL)).mean() < 1


@pytest.mark.parametrize("size", [(1280, 960), (1283, 961), (903, 909), (2007, 1501)])
def test_a_jpeg_decoded_at_a_fraction_stays_close_to_full_decoding(size: tuple[int, int]) -> None:
    data = save(photograph(*size), "JPEG", quality=90)
    spec = InputSpec(3, 224, 224, 224, "bicubic")
    plain = resize_then_crop(Image.open(io.BytesIO(data)), spec)
    assert difference(run(data, spec), plain).mean() < 0.2


def test_concurrent_threads_decode_independently() -> None:
    files = [save(photograph(60 + 7 * n, 50), format) for n in range(4) for format in ("JPEG", "PNG", "GIF", "WEBP")]
    expected = [run(data) for data in files]
    wrong: list[int] = []

    def work(shift: int) -> None:
        for step in range(3 * len(files)):
            place = (step + shift) % len(files)
            if not numpy.array_equal(run(files[place]), expected[place]):
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
