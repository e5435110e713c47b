"""Typed and raw tensors are equivalent, and any bytes are either read or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import InvalidImage
from linnaeus.server.rpc.kserve import tensors


def tensor(shape: list[int], **contents: object) -> kserve.ModelInferRequest.InferInputTensor:
    message = kserve.ModelInferRequest.InferInputTensor(name="image", shape=shape)
    if contents:
        message.contents.MergeFrom(kserve.InferTensorContents(**contents))
    return message


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=8))
def test_elements_are_the_same_typed_and_raw(elements: list[bytes]) -> None:
    raw = tensors.raw_bytes(elements)
    assert len(raw) == sum(map(len, elements)) + 4 * len(elements)
    assert list(tensors.bytes_elements(tensor([len(elements)]), raw)) == elements
    assert list(tensors.bytes_elements(tensor([len(elements)], bytes_contents=elements), None)) == elements


def test_a_raw_element_follows_its_length_in_little_endian() -> None:
    assert tensors.raw_bytes([b"ab", b""]) == b"\x02\0\0\0ab\0\0\0\0"


@given(st.binary(max_size=40), st.integers(1, 4))
def test_any_raw_contents_are_read_or_refused(raw: bytes, count: int) -> None:
    try:
        elements = tensors.bytes_elements(tensor([count]), raw)
    except InvalidImage as error:
        assert error.field == "inputs.image"
    else:
        assert len(elements) == count and tensors.raw_bytes(elements) == raw


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x05\0\0\0abc", "end within element 0"),
        (b"\0\0\0\0\x01\0", "end within element 1"),
        (b"\0\0\0\0" * 3, "go on after the 2 elements"),
        (b"\0\0\0\0", "holds 1 elements, but its shape [2] means 2"),
    ],
)
def test_the_error_of_malformed_raw_contents_names_the_fault(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidImage) as raised:
        tensors.bytes_elements(tensor([2]), raw)
    assert message in str(raised.value)


@given(st.binary(min_size=1, max_size=50))
def test_pixels_are_the_same_typed_and_raw(pixels: bytes) -> None:
    assert tensors.uint8_bytes(tensor([len(pixels)]), pixels) == pixels
    assert tensors.uint8_bytes(tensor([len(pixels)], uint_contents=list(pixels)), None) == pixels


def test_a_typed_pixel_above_255_is_refused() -> None:
    with pytest.raises(InvalidImage, match="256, but UINT8 ends at 255"):
        tensors.uint8_bytes(tensor([2], uint_contents=[0, 256]), None)


def test_too_many_typed_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_MAX_TYPED_ELEMENTS", 3)
    assert tensors.uint8_bytes(tensor([3], uint_contents=[0, 1, 2]), None) == b"\0\1\2"
    with pytest.raises(InvalidImage, match="send it raw"):
        tensors.uint8_bytes(tensor([4], uint_contents=[0, 1, 2, 3]), None)


@pytest.mark.parametrize("contents", [{}, {"uint_contents": [1]}, {"uint_contents": [1, 2, 3]}])
def test_the_number_of_typed_pixels_must_fit_the_shape(contents: dict[str, object]) -> None:
    with pytest.raises(InvalidImage, match=r"its shape \[2\] means 2"):
        tensors.uint8_bytes(tensor([2], **contents), None)


def test_raw_fp32_is_little_endian() -> None:
    assert tensors.raw_fp32([1.0, 0.5]) == b"\0\0\x80?\0\0\0?"
