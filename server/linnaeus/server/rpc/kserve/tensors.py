"""Between the protocol's tensors and bytes; pure functions.

A tensor's elements come typed, in the field of their datatype, or raw: row-major, little-endian, each element of a
BYTES tensor after its length in four bytes. Answers are always raw.
"""

import math
import struct
from collections.abc import Iterable, Sequence

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import InvalidImage

_LENGTH = struct.Struct("<I")

# Typed pixels are made bytes one by one, 18 ns each, while the event loop waits.
_MOST_TYPED = 1 << 20


def bytes_elements(tensor: kserve.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Sequence[bytes]:
    """Returns the elements of a BYTES tensor, as many as its shape says.

    Args:
        tensor: the input as it came.
        raw: its raw contents; None if they are typed.

    Raises:
        InvalidImage: there are more or fewer.
    """
    elements = tensor.contents.bytes_contents if raw is None else _split(tensor, raw)
    _check_count(tensor, len(elements), "elements", "send each picture as one element")
    return elements


def uint8_bytes(tensor: kserve.ModelInferRequest.InferInputTensor, raw: bytes | None) -> bytes:
    """Returns the elements of a UINT8 tensor, as many as its shape says, a byte each.

    Args:
        tensor: the input as it came.
        raw: its raw contents; None if they are typed.

    Raises:
        InvalidImage: there are more or fewer, one is above 255, or there are too many to be typed.
    """
    elements = _typed_bytes(tensor) if raw is None else raw
    _check_count(tensor, len(elements), "bytes", "send a byte for each channel of each pixel")
    return elements


def raw_bytes(elements: Iterable[bytes]) -> bytes:
    """The raw contents of a BYTES tensor."""
    return b"".join(_LENGTH.pack(len(element)) + element for element in elements)


def raw_fp32(values: Sequence[float]) -> bytes:
    """The raw contents of an FP32 tensor."""
    return struct.pack(f"<{len(values)}f", *values)


def _split(tensor: kserve.ModelInferRequest.InferInputTensor, raw: bytes) -> list[bytes]:
    """Returns as many elements as the shape says, or fewer if there are no more."""
    elements: list[bytes] = []
    start = 0
    while start < len(raw) and len(elements) < math.prod(tensor.shape):
        begin = start + _LENGTH.size
        end = begin + _LENGTH.unpack_from(raw, start)[0] if begin <= len(raw) else begin
        if end > len(raw):
            raise _malformed(tensor.name, f"end within element {len(elements)}")
        elements.append(raw[begin:end])
        start = end
    if start < len(raw):
        raise _malformed(tensor.name, f"go on after the {len(elements)} elements that its shape means")
    return elements


def _malformed(name: str, what_they_do: str) -> InvalidImage:
    return InvalidImage(
        f"inputs.{name}",
        f"the raw contents of input {name} {what_they_do}: send each element's length in four bytes, the least first, "
        "then the element",
    )


def _typed_bytes(tensor: kserve.ModelInferRequest.InferInputTensor) -> bytes:
    elements = tensor.contents.uint_contents
    if len(elements) > _MOST_TYPED:
        message = (
            f"input {tensor.name} holds {len(elements)} typed elements, but {_MOST_TYPED} are the most: send it raw"
        )
        raise InvalidImage(f"inputs.{tensor.name}", message)
    try:
        return bytes(elements)
    except ValueError:
        message = f"input {tensor.name} has an element of {max(elements)}, but UINT8 ends at 255"
        raise InvalidImage(f"inputs.{tensor.name}", message) from None


def _check_count(tensor: kserve.ModelInferRequest.InferInputTensor, count: int, what: str, advice: str) -> None:
    expected = math.prod(tensor.shape)
    if count != expected:
        raise InvalidImage(
            f"inputs.{tensor.name}",
            f"input {tensor.name} holds {count} {what}, but its shape {list(tensor.shape)} means {expected}: {advice}",
        )
