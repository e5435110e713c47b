"""Tests of `decode`: damaged and crafted files are decoded or refused, without warnings."""

import contextlib
import struct
import warnings
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, UnidentifiedImageError
from tests.fuzz.mutator import mutant
from tests.fuzz.seeds import seeds
from tests.server.decoding.image_files import photograph, refusal, run, save

from linnaeus.server.errors import InvalidImage


def test_damaged_files_are_decoded_or_refused_and_never_warn() -> None:
    files, refused = seeds(), 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(1000):
            try:
                assert run(mutant(files, 20, number), max_pixels=1_000_000).shape == (24, 24, 3)
            except InvalidImage:
                refused += 1
    assert 200 < refused < 900


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    magic=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF....WEBPVP8X"]),
    rest=st.binary(max_size=200),
)
def test_arbitrary_bytes_after_a_file_signature_are_refused_or_decoded(magic: bytes, rest: bytes) -> None:
    try:
        run(magic + rest, max_pixels=10_000)
    except InvalidImage as error:
        assert error.field == "image.encoded"


@pytest.mark.parametrize("opening", [b"\xff\xc4\0\1\xff\xc4", b"\xff\xc8"], ids=["impossible length", "undefined"])
def test_a_jpeg_segment_of_invalid_length_cannot_hide_metadata_from_the_parser(opening: bytes) -> None:
    data = save(photograph(40, 40), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xff")
    body = data.index(b"\xff\xdb")
    # Pillow reads the opening differently: it would skip 250 zeros and then find EXIF that causes a warning.
    payload = bytes(250) + data[data.index(b"\xff\xe1") : body]
    crafted = data[:2] + opening + struct.pack(">H", len(payload) + 2) + payload + data[body:]
    with warnings.catch_warnings(), contextlib.suppress(InvalidImage):
        warnings.simplefilter("error")
        run(crafted)


@pytest.mark.parametrize(
    "error",
    [EOFError, IndexError, KeyError, OSError, OverflowError, SyntaxError, TypeError, ValueError, ZeroDivisionError]
    + [AssertionError, AttributeError, struct.error, zlib.error, Image.DecompressionBombError, UnidentifiedImageError],
)
@pytest.mark.parametrize("step", ["open", "load"])
def test_every_error_of_pillow_about_the_data_becomes_a_refusal(
    error: type[Exception], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("deep inside")

    data = save(photograph(9, 9), "BMP")
    monkeypatch.setattr(ImageFile.ImageFile, "__init__" if step == "open" else "load", fail)
    assert "deep inside" not in str(refusal(data))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(24, "Too many open files"),
        OSError("out of memory when reading image file"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
@pytest.mark.parametrize("place", ["open", "load"])
def test_want_of_memory_or_files_is_not_blamed_on_the_file(
    error: Exception, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    data = save(photograph(9, 9), "BMP")
    monkeypatch.setattr(ImageFile.ImageFile, "__init__" if place == "open" else "load", fail)
    with pytest.raises(type(error)) as caught:
        run(data)
    assert caught.value is error


@pytest.mark.parametrize("name", ["open_container", "read_image", "select_scale", "resize_and_crop"])
@pytest.mark.parametrize("error", [AttributeError, TypeError, ValueError, KeyError, RuntimeError, MemoryError])
def test_a_fault_of_our_own_is_not_blamed_on_the_file(
    name: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("a mistake of ours")

    monkeypatch.setattr(f"linnaeus.server.decoding.decode.{name}", fail)
    with pytest.raises(error, match="a mistake of ours"):
        run(save(photograph(9, 9), "JPEG"))
