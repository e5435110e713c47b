"""The promises of `linnaeus.server.decoding.decode`, on real files made here."""

import contextlib
import io
import random
import struct
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import Callable

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.decode import decode
from linnaeus.server.decoding.image_formats import MAX_JPEG_SCANS
from linnaeus.server.errors import InvalidImage
from linnaeus.server.requests.picture import EncodedImage, RawPixels

MAX_PIXELS = 20_000_000
DIGIT = InputSpec(channels=1, height=28, width=28, resize=28, interpolation="bilinear")
PHOTO = InputSpec(channels=3, height=224, width=224, resize=256, interpolation="bicubic")
SMALL = InputSpec(channels=3, height=24, width=24, resize=24, interpolation="bilinear")
SMALL_GREY = InputSpec(channels=1, height=24, width=24, resize=24, interpolation="bilinear")
Pixels = NDArray[numpy.uint8]


# What the tests are made of


def save(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def noise(*shape: int, seed: int = 0) -> Pixels:
    return numpy.random.default_rng(seed).integers(0, 256, shape, dtype=numpy.uint8)


def photograph(width: int, height: int) -> Image.Image:
    """Smooth colours with some detail, different in all four corners."""
    y, x = numpy.mgrid[0:1:height * 1j, 0:1:width * 1j]  # fmt: skip
    detail = 30 * numpy.sin(40 * x) * numpy.cos(30 * y)
    return Image.fromarray(numpy.stack([200 * x + 25, 200 * y + 25, 112 + detail], axis=2).astype(numpy.uint8))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *extra: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    end = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(extra) + end


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def run(data: bytes, spec: InputSpec = SMALL, max_pixels: int = MAX_PIXELS) -> Pixels:
    return decode(EncodedImage(data), spec, max_pixels)


def refusal(data: bytes, max_pixels: int = MAX_PIXELS) -> InvalidImage:
    with pytest.raises(InvalidImage) as caught:
        run(data, SMALL, max_pixels)
    assert caught.value.field == "image.encoded"
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    return caught.value


def resize_then_crop(image: Image.Image, spec: InputSpec) -> Pixels:
    """The plain way, step by step, as torchvision's Resize and CenterCrop do it on a Pillow image."""
    short = min(image.size)
    filter = Image.Resampling[spec.interpolation.upper()]
    width, height = (int(spec.resize * length / short) for length in image.size)
    left, top = round((width - spec.width) / 2), round((height - spec.height) / 2)
    cut = image.resize((width, height), filter).crop((left, top, left + spec.width, top + spec.height))
    return numpy.asarray(cut).reshape(spec.height, spec.width, spec.channels)


def difference(one: Pixels, other: Pixels) -> NDArray[numpy.int16]:
    assert one.shape == other.shape
    return numpy.abs(numpy.subtract(one, other, dtype=numpy.int16))


# The shape of the answer


@pytest.mark.parametrize("spec", [DIGIT, PHOTO, InputSpec(3, 30, 50, 60, "bilinear")])
def test_the_answer_is_contiguous_writable_uint8_of_the_shape_the_model_takes(spec: InputSpec) -> None:
    pixels = run(save(photograph(90, 70), "JPEG"), spec)
    assert pixels.shape == (spec.height, spec.width, spec.channels)
    assert pixels.dtype == numpy.uint8 and pixels.flags.c_contiguous and pixels.flags.writeable


def test_a_digit_of_the_models_own_size_comes_through_bit_for_bit() -> None:
    digit = noise(28, 28)
    assert numpy.array_equal(run(save(Image.fromarray(digit), "PNG"), DIGIT)[:, :, 0], digit)
    assert numpy.array_equal(decode(RawPixels(digit.tobytes(), 28, 28, 1), DIGIT, 784)[:, :, 0], digit)


def test_a_picture_whose_shorter_side_fits_is_cut_and_not_resampled() -> None:
    wide = noise(24, 41, 3)
    assert numpy.array_equal(run(save(Image.fromarray(wide), "PNG")), wide[:, 8:32])


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
    resize = max(max(crop) + margin, -(-min(width, height) // 5))  # six times too large and more is averaged down first
    spec = InputSpec(3, *crop, resize, interpolation)
    image = photograph(width, height)
    apart = difference(run(save(image, "PNG"), spec), resize_then_crop(image, spec))
    assert apart.max() <= 2 and apart.mean() < 0.5


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 60_000), (1, 1)])
@pytest.mark.parametrize("spec", [PHOTO, SMALL_GREY])
def test_an_extreme_shape_is_classified_without_a_huge_intermediate(size: tuple[int, int], spec: InputSpec) -> None:
    data = save(photograph(*size), "PNG")
    tracemalloc.start()
    assert run(data, spec).shape == (spec.height, spec.width, spec.channels)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_far_too_large_picture_stays_close_to_plain_resizing() -> None:
    image = photograph(2000, 1500)
    assert difference(run(save(image, "PNG")), resize_then_crop(image, SMALL)).mean() < 1


@pytest.mark.parametrize("size", [(1280, 960), (1283, 961), (903, 909), (2007, 1501)])
def test_a_jpeg_decoded_at_a_fraction_stays_close_to_the_whole_and_in_place(size: tuple[int, int]) -> None:
    data = save(photograph(*size), "JPEG", quality=90)
    spec = InputSpec(3, 224, 224, 224, "bicubic")
    plain = resize_then_crop(Image.open(io.BytesIO(data)), spec)
    assert difference(run(data, spec), plain).mean() < 0.2


# The same picture in other clothes


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_seen_upright(format: str, orientation: int) -> None:
    spec = InputSpec(3, 21, 32, 33, "bilinear")
    data = save(photograph(120, 80), format, exif=exif(orientation), quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert difference(run(data, spec), resize_then_crop(upright, spec)).max() <= 3


def test_a_large_turned_jpeg_is_cut_where_the_upright_one_would_be() -> None:
    image = photograph(1283, 961)
    for orientation in range(1, 9):
        data = save(image, "JPEG", exif=exif(orientation), quality=95)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        assert difference(run(data, PHOTO), resize_then_crop(upright, PHOTO)).mean() < 0.7


@pytest.mark.parametrize(
    "broken", [b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01", b"?" * 9]
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_is_ignored(format: str, broken: bytes) -> None:
    image = photograph(40, 30)
    assert numpy.array_equal(run(save(image, format, exif=b"Exif\0\0" + broken)), run(save(image, format)))


def test_a_large_picture_in_each_plain_format_is_the_same_picture() -> None:
    image = photograph(100, 80)
    expected = run(save(image, "PNG"))
    assert numpy.array_equal(run(save(image, "BMP")), expected)
    assert numpy.array_equal(run(save(image, "WEBP", lossless=True)), expected)
    assert numpy.array_equal(decode(RawPixels(image.tobytes(), 80, 100, 3), SMALL, MAX_PIXELS), expected)
    assert difference(run(save(image, "JPEG", quality=95)), expected).mean() < 2
    assert difference(run(save(image, "GIF")), expected).mean() < 12  # 256 colours at most


def test_colour_becomes_luma_and_grey_becomes_equal_rgb() -> None:
    colour, grey = Image.fromarray(noise(24, 24, 3)), Image.fromarray(noise(24, 24))
    assert numpy.array_equal(run(save(colour, "PNG"), SMALL_GREY)[:, :, 0], numpy.asarray(colour.convert("L")))
    assert numpy.array_equal(run(save(grey, "PNG")), numpy.asarray(grey.convert("RGB")))


def test_a_cmyk_jpeg_is_the_picture_it_prints() -> None:
    image = photograph(48, 48)
    assert difference(run(save(image.convert("CMYK"), "JPEG", quality=95)), run(save(image, "PNG"))).mean() < 2


def test_a_ycck_jpeg_is_the_picture_it_prints() -> None:
    image = photograph(48, 48)
    # The file holds YCbCr of the inverted colours; Pillow inverts what it writes, and cannot write the YCCK flag.
    planes = [ImageOps.invert(plane) for plane in ImageOps.invert(image).convert("YCbCr").split()]
    cmyk = Image.merge("CMYK", [*planes, Image.new("L", image.size, 0)])
    data = bytearray(save(cmyk, "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    assert difference(run(bytes(data)), run(save(image, "PNG"))).mean() < 3


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    samples = numpy.random.default_rng(1).integers(0, 65536, (24, 24), dtype=numpy.uint16)
    samples[0, :4] = 0, 128, 129, 65535
    pixels = run(save(Image.fromarray(samples), "PNG"), SMALL_GREY)[:, :, 0]
    assert numpy.array_equal(pixels, numpy.round(samples * (255 / 65535)).astype(numpy.uint8))


def test_sixteen_bit_colour_is_the_same_picture() -> None:
    image = noise(24, 24, 3)
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in image)
    assert numpy.array_equal(run(png(24, 24, 16, 2, rows)), image)


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(noise(24, 24)).convert("1")
    assert numpy.array_equal(run(save(image, "PNG"), SMALL_GREY)[:, :, 0], numpy.asarray(image.convert("L")))


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_what_is_transparent_is_white_paper(format: str) -> None:
    colours = noise(24, 24, 4)
    colours[:8, :, 3], colours[8:16, :, 3] = 0, 255
    pixels = run(save(Image.fromarray(colours), format, **({"lossless": True} if format == "WEBP" else {})))
    opacity = colours[:, :, 3:] / 255
    assert (
        difference(pixels, numpy.round(colours[:, :, :3] * opacity + 255 * (1 - opacity)).astype(numpy.uint8)).max()
        <= 1
    )
    assert numpy.array_equal(pixels[8:16], colours[8:16, :, :3]) and pixels[:8].min() == 255
    assert numpy.array_equal(decode(RawPixels(colours.tobytes(), 24, 24, 4), SMALL, 576), pixels) or format == "WEBP"


def test_a_fully_opaque_alpha_channel_changes_nothing() -> None:
    for mode, spec in (("LA", SMALL_GREY), ("RGBA", SMALL)):
        image = Image.fromarray(noise(24, 24, 3)).convert(mode[:-1])
        assert numpy.array_equal(run(save(image.convert(mode), "PNG"), spec), run(save(image, "PNG"), spec))


@pytest.mark.parametrize("transparency", [None, 3, bytes([255] * 3 + [0, 128])])
def test_a_palette_is_looked_up(transparency: int | bytes | None) -> None:
    image = photograph(24, 24).quantize(16)
    expected = numpy.asarray(image.convert("RGB")).astype(float)
    indices = numpy.asarray(image)
    if transparency is not None:
        expected[indices == 3] = 255
    if isinstance(transparency, bytes):
        expected[indices == 4] = expected[indices == 4] * 128 / 255 + 127
    options = {} if transparency is None else {"transparency": transparency}
    assert numpy.abs(run(save(image, "PNG", **options)) - expected).max() <= 1
    if not isinstance(transparency, bytes):
        assert numpy.abs(run(save(image, "GIF", **options)) - expected).max() <= 1


@pytest.mark.parametrize(
    ("depth", "colour_type", "samples", "transparent", "expected"),
    [
        (8, 0, bytes([7, 90]), struct.pack(">H", 7), [255, 90]),
        (8, 2, bytes([1, 2, 3, 90, 90, 90]), struct.pack(">3H", 1, 2, 3), [255, 90]),
        (2, 0, bytes([0b01100000]), struct.pack(">H", 1), [255, 170]),
        (1, 0, bytes([0b01000000]), struct.pack(">H", 0), [255, 255]),
        (16, 0, struct.pack(">2H", 300, 25700), struct.pack(">H", 300), [255, 100]),
        (16, 2, struct.pack(">6H", *[0x1234] * 3, *[25700] * 3), struct.pack(">3H", *[0x1234] * 3), [255, 100]),
    ],
)
def test_a_png_colour_named_transparent_is_white_paper(
    depth: int, colour_type: int, samples: bytes, transparent: bytes, expected: list[int]
) -> None:
    data = png(2, 1, depth, colour_type, b"\0" + samples, png_chunk(b"tRNS", transparent))
    assert run(data, InputSpec(1, 1, 1, 1, "bilinear")).shape == (1, 1, 1)
    tall = png(2, 2, depth, colour_type, (b"\0" + samples) * 2, png_chunk(b"tRNS", transparent))
    assert run(tall, InputSpec(1, 2, 2, 2, "bilinear"))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_the_picture(format: str) -> None:
    first, second = photograph(24, 24).quantize(64).convert("RGB"), Image.new("RGB", (24, 24), "red")
    options = {"lossless": True} if format == "WEBP" else {}
    data = save(first, format, save_all=True, append_images=[second], duration=50, **options)
    assert difference(run(data), numpy.asarray(first)).max() <= 1


def test_of_a_gif_only_the_first_frame_is_read() -> None:
    image = photograph(24, 24).quantize(64)
    data = save(image, "GIF", comment=b"first", transparency=3)
    assert numpy.array_equal(run(data[:-1] + b"," + b"\xff" * 50), run(data))
    assert (run(data)[numpy.asarray(image) == 3] == 255).all()


def test_an_mpo_is_its_first_picture() -> None:
    image = photograph(40, 40)
    data = save(image, "MPO", save_all=True, append_images=[Image.new("RGB", (40, 40))])
    assert numpy.array_equal(run(data), run(save(image, "JPEG")))


# Refusals


def test_what_is_no_picture_is_refused_in_one_clear_sentence() -> None:
    assert "empty" in str(refusal(b""))
    assert "send a JPEG, PNG, GIF, WebP or BMP file" in str(refusal(b"Dear server, what is this?"))
    assert "send a JPEG, PNG, GIF, WebP or BMP file" in str(refusal(random.Random(1).randbytes(5000)))
    assert "send a JPEG, PNG, GIF, WebP or BMP file" in str(refusal(save(photograph(30, 30), "TIFF")))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_file_cut_short_is_refused_wherever_it_is_cut(format: str) -> None:
    data = save(Image.fromarray(noise(60, 60, 3)), format)
    for share in (0.02, 0.1, 0.3, 0.6, 0.9):
        assert "send" in str(refusal(data[: int(len(data) * share)]))


def oversized_gif() -> bytes:
    """One pixel of screen under a huge frame, to be wiped with the background afterwards."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    wipe = b"!\xf9\x04" + bytes([2 << 2, 0, 0, 0, 0])
    return screen + wipe + b"," + struct.pack("<HHHHBB", 0, 0, 65535, 65535, 0, 8)


def oversized_webp() -> bytes:
    frame = save(photograph(16, 16), "WEBP")[12:]
    body = b"WEBPVP8X" + struct.pack("<IB3x", 10, 0) + b"\xff\x3f\x00" * 2 + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def oversized_jpeg() -> bytes:
    data = bytearray(save(photograph(16, 16), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", 65000, 65000)
    return bytes(data)


def oversized_bmp() -> bytes:
    data = bytearray(save(photograph(16, 16), "BMP"))
    data[18:26] = struct.pack("<ii", 100_000, 100_000)
    return bytes(data)


@pytest.mark.parametrize(
    "make",
    [lambda: png(100_000, 100_000, 8, 2, b"\0" * 99), oversized_gif, oversized_webp, oversized_jpeg, oversized_bmp],
    ids=["png", "gif", "webp", "jpeg", "bmp"],
)
def test_a_claimed_giant_is_refused_from_its_header_without_taking_memory(make: Callable[[], bytes]) -> None:
    data = make()
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    assert f"at most {MAX_PIXELS} are allowed" in str(refusal(data))
    python_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert python_bytes < 1_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB, or bytes on macOS


def test_the_pixel_limit_is_the_largest_size_allowed() -> None:
    data = save(photograph(40, 30), "PNG")
    assert run(data, max_pixels=1200).shape == (24, 24, 3)
    assert "40 x 30 = 1200 pixels" in str(refusal(data, max_pixels=1199))


def test_a_limit_above_pillows_own_brings_no_warning() -> None:
    data = save(Image.new("1", (10_000, 9_000)), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(data, max_pixels=100_000_000).shape == (24, 24, 3)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = save(photograph(64, 64), "JPEG", progressive=True)
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    assert "scans" in str(refusal(data[:-2] + last_scan * MAX_JPEG_SCANS + b"\xff\xd9"))


def test_what_follows_a_jpeg_does_not_count_as_scans() -> None:
    data = save(photograph(64, 64), "JPEG")
    assert numpy.array_equal(run(data + b"\0\2" + b"\xff\xda\0\2" * 500), run(data))


def test_a_run_length_compressed_bmp_is_refused() -> None:
    data = bytearray(save(Image.fromarray(noise(8, 8)).quantize(4), "BMP"))
    data[30] = 1
    assert "run-length" in str(refusal(bytes(data)))


def pixels_refusal(data: bytes, height: int, width: int, channels: int) -> tuple[str, str]:
    with pytest.raises(InvalidImage) as caught:
        decode(RawPixels(data, height, width, channels), SMALL, MAX_PIXELS)
    return caught.value.field, str(caught.value)


@pytest.mark.parametrize("channels", [-1, 0, 2, 5, 2**31 - 1])
def test_raw_pixels_have_one_three_or_four_channels(channels: int) -> None:
    assert pixels_refusal(b"\0" * 8, 2, 2, channels)[0] == "image.pixels.channels"


def test_raw_pixels_must_fit_their_shape() -> None:
    field, message = pixels_refusal(b"\0" * 11, 2, 2, 3)
    assert field == "image.pixels.data" and "11 bytes" in message and "needs 12" in message
    assert pixels_refusal(b"", 2, 2, 3)[0] == "image.pixels.data"
    assert pixels_refusal(b"\0" * 13, 2, 2, 3)[0] == "image.pixels.data"


@pytest.mark.parametrize("length", [0, -1, -(2**31)])
def test_raw_pixels_have_a_positive_size(length: int) -> None:
    assert pixels_refusal(b"", length, 2, 1)[0] == "image.pixels.height"
    assert pixels_refusal(b"", 2, length, 1)[0] == "image.pixels.width"


def test_raw_pixels_of_an_absurd_size_are_refused() -> None:
    assert pixels_refusal(b"\0", 2**31 - 1, 2**31 - 1, 4)[0] == "image.pixels"


# Malice


def seeds() -> list[bytes]:
    rgba = Image.fromarray(noise(33, 47, 4))
    rgb, palette = rgba.convert("RGB"), rgba.convert("RGB").quantize(50)
    turned = exif(6)
    turned[0x011A] = 72.0  # a resolution, which Pillow looks up on opening a JPEG
    return [
        save(rgb, "JPEG", exif=turned),
        save(rgb, "JPEG", progressive=True),
        save(rgb.convert("CMYK"), "JPEG"),
        save(rgb, "MPO", save_all=True, append_images=[rgb]),
        save(rgb, "PNG", exif=turned),
        save(palette, "PNG", transparency=bytes(range(50))),
        save(rgb, "PNG", save_all=True, append_images=[rgb.rotate(9)]),
        save(Image.fromarray(noise(30, 40).astype(numpy.uint16) * 200), "PNG"),
        save(rgb, "GIF", save_all=True, append_images=[rgb.rotate(8)], comment=b"hello"),
        save(palette, "GIF", transparency=3),
        save(rgb, "WEBP", exif=turned),
        save(rgba, "WEBP", save_all=True, append_images=[rgba.rotate(5)]),
        save(rgb, "BMP"),
        save(palette, "BMP"),
    ]


def mutate(data: bytes, source: random.Random) -> bytes:
    mutant = bytearray(data)
    for _ in range(source.choice([1, 1, 2, 8])):
        place = source.randrange(min(len(mutant), source.choice([40, 200, len(mutant)])))
        span = source.choice([1, 2, 4, 8])
        match source.randrange(5):
            case 0:
                mutant[place] ^= 1 << source.randrange(8)
            case 1:
                mutant[place : place + span] = bytes([source.choice([0, 1, 0x7F, 0x80, 0xFF])]) * span
            case 2:
                mutant[place : place + span] = b""
            case 3:
                mutant[place:place] = source.randbytes(span)
            case 4:
                other = source.randrange(len(mutant))
                mutant[place : place + span] = mutant[other : other + span]
        if len(mutant) < 16:
            break
    return bytes(mutant)


def test_thousands_of_damaged_files_are_decoded_or_refused_and_never_warn() -> None:
    source, files = random.Random(20), seeds()
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(8000):
            try:
                assert run(mutate(source.choice(files), source), max_pixels=1_000_000).shape == (24, 24, 3)
            except InvalidImage:
                refused += 1
    assert 1000 < refused < 7000


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    magic=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF....WEBPVP8X"]),
    rest=st.binary(max_size=200),
)
def test_bytes_behind_a_picture_files_first_bytes_are_refused_or_decoded(magic: bytes, rest: bytes) -> None:
    try:
        run(magic + rest, max_pixels=10_000)
    except InvalidImage as error:
        assert error.field == "image.encoded"


@pytest.mark.parametrize("opening", [b"\xff\xc4\0\1\xff\xc4", b"\xff\xc8"], ids=["impossible length", "undefined"])
def test_a_jpeg_segment_that_pillow_reads_otherwise_cannot_smuggle_metadata(opening: bytes) -> None:
    data = save(photograph(40, 40), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xff")
    body = data.index(b"\xff\xdb")
    # Pillow, led astray by the opening, would skip 250 zeros and then find EXIF that it warns about.
    cover = bytes(250) + data[data.index(b"\xff\xe1") : body]
    smuggled = data[:2] + opening + struct.pack(">H", len(cover) + 2) + cover + data[body:]
    with warnings.catch_warnings(), contextlib.suppress(InvalidImage):
        warnings.simplefilter("error")
        run(smuggled)


@pytest.mark.parametrize(
    "error",
    [EOFError, IndexError, KeyError, MemoryError, OSError, OverflowError, RuntimeError, SyntaxError, TypeError]
    + [ValueError, ZeroDivisionError, AssertionError, AttributeError, struct.error, zlib.error]
    + [Image.DecompressionBombError, UnidentifiedImageError],
)
def test_whatever_pillow_raises_is_a_refusal(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("deep inside")

    monkeypatch.setattr(Image, "open", fail)
    assert "deep inside" not in str(refusal(save(photograph(9, 9), "BMP")))


def test_threads_decode_at_the_same_time_without_touching_each_other() -> None:
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
