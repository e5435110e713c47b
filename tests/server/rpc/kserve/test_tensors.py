"""Tensors as they travel: typed and raw mean the same, and whatever bytes come, they are read or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import InvalidImage
from linnaeus.server.rpc.kserve import tensors


def tensor(shape: list[int], **contents: object) -> kserve.ModelInferRequest.InferInputTensor:
    made = kserve.ModelInferRequest.InferInputTensor(name="image", shape=shape)
    if contents:
        made.contents.MergeFrom(kserve.InferTensorContents(**contents))
    return made


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=8))
def test_elements_come_out_as_they_went_in_typed_and_raw(elements: list[bytes]) -> None:
    raw = tensors.raw_bytes(elements)
    assert len(raw) == sum(map(len, elements)) + 4 * len(elements)
    assert list(tensors.bytes_elements(tensor([len(elements)]), raw)) == elements
    assert list(tensors.bytes_elements(tensor([len(elements)], bytes_contents=elements), None)) == elements


def test_an_element_follows_its_length_the_least_byte_first() -> None:
    assert tensors.raw_bytes([b"ab", b""]) == b"\x02\0\0\0ab\0\0\0\0"


@given(st.binary(max_size=40), st.integers(1, 4))
def test_whatever_bytes_come_they_are_read_or_refused(raw: bytes, count: int) -> None:
    try:
        elements = tensors.bytes_elements(tensor([count]), raw)
    except InvalidImage as error:
        assert error.field == "inputs.image"
    else:
        assert len(elements) == count and tensors.raw_bytes(elements) == raw


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x05\0\0\0abc", "end within element 0"),
        (b"\0\0\0\0\x01\0", "end within element 1"),
        (b"\0\0\0\0" * 3, "go on after the 2 elements"),
        (b"\0\0\0\0", "holds 1 elements, but its shape [2] means 2"),
    ],
)
def test_what_is_wrong_with_raw_elements_is_said(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidImage) as raised:
        tensors.bytes_elements(tensor([2]), raw)
    assert said in str(raised.value)


@given(st.binary(min_size=1, max_size=50))
def test_bytes_of_pixels_are_the_same_typed_and_raw(pixels: bytes) -> None:
    assert tensors.uint8_bytes(tensor([len(pixels)]), pixels) == pixels
    assert tensors.uint8_bytes(tensor([len(pixels)], uint_contents=list(pixels)), None) == pixels


def test_a_typed_pixel_that_is_no_byte_is_refused_not_wrapped() -> None:
    with pytest.raises(InvalidImage, match="256, but UINT8 ends at 255"):
        tensors.uint8_bytes(tensor([2], uint_contents=[0, 256]), None)


def test_typed_pixels_so_many_that_the_others_would_wait_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_MOST_TYPED", 3)
    assert tensors.uint8_bytes(tensor([3], uint_contents=[0, 1, 2]), None) == b"\0\1\2"
    with pytest.raises(InvalidImage, match="send it raw"):
        tensors.uint8_bytes(tensor([4], uint_contents=[0, 1, 2, 3]), None)


@pytest.mark.parametrize("contents", [{}, {"uint_contents": [1]}, {"uint_contents": [1, 2, 3]}])
def test_typed_pixels_are_as_many_as_the_shape_says(contents: dict[str, object]) -> None:
    with pytest.raises(InvalidImage, match=r"its shape \[2\] means 2"):
        tensors.uint8_bytes(tensor([2], **contents), None)


def test_probabilities_are_written_the_least_byte_first() -> None:
    assert tensors.raw_fp32([1.0, 0.5]) == b"\0\0\x80?\0\0\0?"
