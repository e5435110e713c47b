"""Every type of image is converted into the message that carries it, or refused with a reason."""

import io
from pathlib import Path

import numpy
import pytest
from PIL import Image, ImageOps

from linnaeus.client import Client, InvalidImage

MEBIBYTE = 1024 * 1024


@pytest.fixture
def client(stub):
    with Client(stub.target) as client:
        yield client


@pytest.fixture
def sent(client, stub):
    """Sends an image; returns the message that the server received."""

    def send(image):
        client.classify(image)
        return stub.images[-1]

    return send


@pytest.fixture
def pixels_sent(sent):
    """Sends an image; returns the pixels that the server received as an array."""

    def send(image):
        pixels = sent(image).pixels
        return numpy.frombuffer(pixels.data, numpy.uint8).reshape(pixels.height, pixels.width, pixels.channels)

    return send


def random_pixels(*shape: int) -> numpy.ndarray:
    return numpy.random.default_rng(7).integers(0, 256, shape, numpy.uint8)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_arrives_as_the_files_content(sent, tmp_path, kind):
    (tmp_path / "cat.jpg").write_bytes(b"a picture")
    assert sent(kind(tmp_path / "cat.jpg")).encoded == b"a picture"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_arrive_as_they_are(sent, kind):
    assert sent(kind(b"a picture")).encoded == b"a picture"


def test_a_file_object_is_read_from_its_position(sent):
    file = io.BytesIO(b"skipped|a picture")
    file.seek(8)
    assert sent(file).encoded == b"a picture"


def test_a_file_object_with_short_reads_is_read_to_its_end(sent):
    class Trickle(io.BytesIO):
        def read(self, size=-1):
            return super().read(1)

    assert sent(Trickle(b"a picture")).encoded == b"a picture"


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_an_array_arrives_pixel_by_pixel(pixels_sent, shape):
    array = random_pixels(*shape)
    assert numpy.array_equal(pixels_sent(array), array.reshape(5, 7, -1))


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[::-1, :, ::-1],
        lambda array: array[1:4, 2::2],
        lambda array: array.transpose(1, 0, 2),
        numpy.asfortranarray,
    ],
)
def test_an_array_may_have_any_strides(pixels_sent, view):
    array = view(random_pixels(5, 7, 3))
    assert numpy.array_equal(pixels_sent(array), array)


def test_an_array_may_be_read_only(pixels_sent):
    array = random_pixels(5, 7, 3)
    array.setflags(write=False)
    assert numpy.array_equal(pixels_sent(array), array)


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (numpy.zeros((5, 7, 3), numpy.float32), r"float32 \[5, 7, 3\]"),
        (numpy.zeros((5, 7), bool), r"bool \[5, 7\]"),
        (numpy.zeros((5, 7, 3), numpy.int8), r"int8 \[5, 7, 3\]"),
        (numpy.zeros((3, 5, 7), numpy.uint8), r"uint8 \[3, 5, 7\]"),
        (numpy.zeros((5, 7, 2), numpy.uint8), r"uint8 \[5, 7, 2\]"),
        (numpy.zeros((1, 5, 7, 3), numpy.uint8), r"uint8 \[1, 5, 7, 3\]"),
        (numpy.zeros(7, numpy.uint8), r"uint8 \[7\]"),
    ],
)
def test_an_unsupported_dtype_or_shape_is_named_with_the_supported_ones(client, stub, array, named):
    with pytest.raises(InvalidImage, match=named + r": pass uint8 of shape \[H, W\]"):
        client.classify(array)
    assert stub.requests == []


def test_an_array_without_pixels_is_refused(client):
    with pytest.raises(InvalidImage, match=r"no pixels: its shape is \[0, 7, 3\]"):
        client.classify(numpy.zeros((0, 7, 3), numpy.uint8))


def test_an_array_without_a_buffer_is_refused(client):
    class Hollow:
        __array_interface__ = {"shape": (5, 7), "typestr": "|u1"}  # noqa: RUF012

    with pytest.raises(InvalidImage, match="the array's memory cannot be read"):
        client.classify(Hollow())


@pytest.mark.parametrize(("mode", "shape"), [("L", (5, 7)), ("RGB", (5, 7, 3)), ("RGBA", (5, 7, 4))])
def test_a_pillow_image_arrives_as_its_own_pixels(pixels_sent, mode, shape):
    array = random_pixels(*shape)
    picture = Image.fromarray(array)
    assert picture.mode == mode
    assert numpy.array_equal(pixels_sent(picture), array.reshape(5, 7, -1))


@pytest.mark.parametrize(
    ("mode", "becomes"),
    [("1", "L"), ("P", "RGB"), ("LA", "RGBA"), ("PA", "RGBA"), ("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB")],
)
def test_another_pillow_mode_is_converted(pixels_sent, mode, becomes):
    source = Image.fromarray(random_pixels(5, 7, 3))
    picture = source.convert("LA").convert("PA") if mode == "PA" else source.convert(mode)
    expected = numpy.asarray(picture.convert(becomes)).reshape(5, 7, -1)
    assert numpy.array_equal(pixels_sent(picture), expected)


def test_a_palette_keeps_its_transparency(pixels_sent):
    picture = Image.fromarray(random_pixels(5, 7, 3)).convert("P")
    picture.info["transparency"] = picture.getpixel((0, 0))
    arrived = pixels_sent(picture)
    assert arrived.shape == (5, 7, 4)
    assert arrived[0, 0, 3] == 0


def test_sixteen_bits_arrive_without_loss(sent):
    array = numpy.random.default_rng(7).integers(0, 65_536, (5, 7), numpy.uint16)
    arrived = Image.open(io.BytesIO(sent(Image.fromarray(array)).encoded))
    assert arrived.format == "PNG"
    assert numpy.array_equal(numpy.asarray(arrived), array)


def test_mode_i_arrives_without_loss_if_it_fits_sixteen_bits(sent):
    array = numpy.random.default_rng(7).integers(0, 65_536, (5, 7), numpy.int32)
    arrived = Image.open(io.BytesIO(sent(Image.fromarray(array)).encoded))
    assert numpy.array_equal(numpy.asarray(arrived).astype(numpy.int32), array)


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (Image.new("F", (7, 5)), "mode F has no known range"),
        (Image.new("I", (7, 5), 70_000), "from 70000 to 70000 does not fit 16 bits"),
        (Image.new("I", (7, 5), -1), "from -1 to -1 does not fit 16 bits"),
        (Image.new("RGB", (0, 5)), "no pixels: its size is 0x5"),
    ],
)
def test_a_pillow_image_that_cannot_be_converted_without_loss_is_refused(client, picture, sentence):
    with pytest.raises(InvalidImage, match=sentence):
        client.classify(picture)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_pillow_image_is_applied(pixels_sent, orientation):
    picture = Image.fromarray(random_pixels(5, 7, 3))
    picture.getexif()[0x0112] = orientation
    expected = numpy.asarray(ImageOps.exif_transpose(picture))
    assert numpy.array_equal(pixels_sent(picture), expected)


def test_a_pillow_image_of_a_broken_file_is_one_sentence(client):
    whole = encoded(Image.fromarray(random_pixels(64, 64, 3)), "JPEG")
    with pytest.raises(InvalidImage, match="Pillow cannot read this picture of mode RGB: "):
        client.classify(Image.open(io.BytesIO(whole[: len(whole) // 2])))


def test_a_missing_file_is_one_sentence(client, tmp_path):
    with pytest.raises(InvalidImage, match=r"cat\.jpg: there is no such file$"):
        client.classify(tmp_path / "cat.jpg")


def test_a_directory_is_one_sentence(client, tmp_path):
    with pytest.raises(InvalidImage, match="this is a directory, not a picture file$"):
        client.classify(tmp_path)


def test_an_unreadable_file_is_one_sentence(client, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # root may read every file, so permissions would not matter
    with pytest.raises(InvalidImage, match=r"cat\.jpg: Permission denied$"):
        client.classify(tmp_path / "cat.jpg")


def test_an_invalid_path_is_one_sentence(client):
    with pytest.raises(InvalidImage, match="embedded null byte"):
        client.classify("cat\0.jpg")


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (b"", "the picture is empty"),
        (io.BytesIO(), "the file object is empty"),
        (io.StringIO("a picture"), "open it in binary mode"),
        (None, "cannot read a picture from NoneType: pass a path"),
        (17, "cannot read a picture from int"),
        (io, "cannot read a picture from module"),
    ],
)
def test_an_unsupported_type_is_refused(client, stub, image, sentence):
    with pytest.raises(InvalidImage, match=sentence):
        client.classify(image)
    assert stub.requests == []


def test_an_empty_file_is_refused_by_name(client, tmp_path):
    (tmp_path / "cat.jpg").touch()
    with pytest.raises(InvalidImage, match=r"cat\.jpg: the file is empty"):
        client.classify(tmp_path / "cat.jpg")


def test_a_file_object_that_fails_is_one_sentence(client):
    file = io.BytesIO(b"a picture")
    file.close()
    with pytest.raises(InvalidImage, match="the file object cannot be read: I/O operation on closed file"):
        client.classify(file)


@pytest.fixture
def large_file(tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(b"x" * (2 * MEBIBYTE))
    return path


LARGE = [
    lambda path: path,
    lambda path: path.read_bytes(),
    lambda path: io.BytesIO(path.read_bytes()),
    lambda path: numpy.zeros((1024, 2048), numpy.uint8),
    lambda path: Image.new("RGBA", (1024, 1024)),
    lambda path: b"x" * (MEBIBYTE - 1),  # fits alone, but not with the rest of the message
]


@pytest.mark.parametrize("make", LARGE)
def test_an_oversized_image_is_refused_before_anything_is_sent(stub, large_file, make):
    with Client(stub.target, max_message_bytes=MEBIBYTE) as client:
        with pytest.raises(
            InvalidImage, match=r"MiB \([\d,]+ bytes\), above the limit of 1\.0 MiB .*max_message_bytes"
        ):
            client.classify(make(large_file))
        assert stub.requests == []
        client.models()
    assert len(stub.requests) == 1


@pytest.mark.parametrize("make", LARGE)
def test_an_oversized_image_is_refused_without_a_server(silent_target, large_file, make):
    with Client(silent_target, max_message_bytes=MEBIBYTE) as client, pytest.raises(InvalidImage):
        client.classify(make(large_file))


def test_a_file_that_is_too_large_is_named_and_not_read(stub, large_file, monkeypatch):
    monkeypatch.setattr("linnaeus.client.images.image_source._read", None)
    with (
        Client(stub.target, max_message_bytes=MEBIBYTE) as client,
        pytest.raises(InvalidImage, match=r"large\.jpg: the file is 2\.0 MiB \(2,097,152 bytes\)"),
    ):
        client.classify(large_file)


def test_an_array_that_is_too_large_is_not_copied(client):
    class Hollow:
        __array_interface__ = {"shape": (50_000, 50_000), "typestr": "|u1"}  # noqa: RUF012

    with pytest.raises(InvalidImage, match="the picture is 2384.2 MiB"):
        client.classify(Hollow())


def test_a_pillow_image_that_is_too_large_is_not_copied(stub, monkeypatch):
    monkeypatch.setattr(Image.Image, "tobytes", None)
    limited = Client(stub.target, max_message_bytes=32 * MEBIBYTE)
    with limited as client, pytest.raises(InvalidImage, match="the picture is 36.0 MiB"):
        client.classify(Image.new("RGB", (4096, 3072)))


def test_an_image_that_just_fits_is_sent(stub):
    with Client(stub.target, max_message_bytes=MEBIBYTE) as client:
        client.classify(b"x" * (MEBIBYTE - 8))
    assert stub.requests[-1].ByteSize() == MEBIBYTE


def test_an_endless_file_object_is_read_only_as_far_as_the_limit(stub):
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size=-1):
            self.given += size
            return bytes(size)

    endless = Endless()
    with (
        Client(stub.target, max_message_bytes=2 * MEBIBYTE) as client,
        pytest.raises(InvalidImage, match="so far is 3"),
    ):
        client.classify(endless)
    assert endless.given == 3 * MEBIBYTE
