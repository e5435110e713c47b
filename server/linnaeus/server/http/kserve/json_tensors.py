"""Tensors in JSON and their raw contents, which are little-endian and in row-major order. Pure functions.

The elements may be nested as the shape has it, or flat. An element of BYTES is a text, which stands for its UTF-8.
Pictures are no texts: they are sent as binary data, or in base64 with the parameter `content_type`.
"""

import binascii
import re
from base64 import b64decode
from functools import cache
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.http.kserve.documents import InputDocument, read_json
from linnaeus.server.http.kserve.parameters import CONTENT_TYPE
from linnaeus.server.rpc.kserve.inputs import MAX_IMAGES
from linnaeus.server.rpc.kserve.tensors import elements_of, raw_bytes

_BASE64 = "base64"
_MAX_DEPTH = 16
_OPENING = re.compile(rb"[\s\[]{0,1024}")
_SMALL_INTEGERS = ("UINT8", "UINT16", "UINT32", "INT8", "INT16", "INT32")
# The types of numpy by the datatypes of the protocol. FP16 is not among them: JSON does not have it.
_DTYPES = {
    "BOOL": "?",
    **{name: f"<{name[0].lower()}{int(name.lstrip('UINT')) // 8}" for name in (*_SMALL_INTEGERS, "UINT64", "INT64")},
    "FP32": "<f4",
    "FP64": "<f8",
}


def raw_contents(tensor: InputDocument) -> bytes:
    """Returns the raw contents of a tensor in JSON.

    Raises:
        InvalidArgument: if its elements are not of its datatype, or JSON does not have the datatype.
    """
    field = f"inputs.{tensor.name:.40}"
    if tensor.datatype != "BYTES" and tensor.datatype not in _DTYPES:
        sentence = f"{field}: JSON has no datatype {tensor.datatype!r:.20}; send binary data (binary_data_size)"
        raise InvalidArgument(field, sentence)
    opening = _OPENING.match(memoryview(tensor.data))
    depth = 0 if opening is None else opening[0].count(b"[")
    if not 0 < depth <= _MAX_DEPTH:
        raise InvalidArgument(field, f"{field}.data must be an array of at most {_MAX_DEPTH} dimensions")
    values = read_json(_array(tensor.datatype, depth), tensor.data, f"{field}.data")
    for _ in range(depth - 1):
        values = list(chain.from_iterable(values))
    return _elements(values, tensor, field) if tensor.datatype == "BYTES" else _numbers(values, tensor.datatype, field)


def json_values(raw: bytes, datatype: str) -> list[Any]:
    """Returns the elements of an output, flat."""
    if datatype == "BYTES":
        return [element.decode() for element in elements_of(raw)]
    numbers: list[Any] = numpy.frombuffer(raw, _DTYPES[datatype]).tolist()
    return numbers


@cache
def _array(datatype: str, depth: int) -> Any:
    """Returns the type of an array, so that msgspec checks each element while it reads it."""
    array: Any = list[_element_type(datatype)]  # type: ignore[misc]  # made at run time
    for _ in range(depth - 1):
        array = list[array]
    return array


def _element_type(datatype: str) -> Any:
    if datatype in _SMALL_INTEGERS:
        limits = numpy.iinfo(_DTYPES[datatype])
        return Annotated[int, msgspec.Meta(ge=int(limits.min), le=int(limits.max))]
    return {"BOOL": bool, "BYTES": str, "FP32": float, "FP64": float}.get(datatype, int)


def _elements(values: list[str], tensor: InputDocument, field: str) -> bytes:
    if len(values) > MAX_IMAGES:
        sentence = f"{field}.data has {len(values)} elements, but {MAX_IMAGES} are the most: send several requests"
        raise InvalidArgument(field, sentence)
    kind = (tensor.parameters or {}).get(CONTENT_TYPE)
    if kind != _BASE64:
        return raw_bytes([value.encode() for value in values])
    try:
        return raw_bytes([b64decode(value, validate=True) for value in values])
    except (binascii.Error, ValueError):
        sentence = f"{field}.data is no base64, as its {CONTENT_TYPE} says; encode each element by itself"
        raise InvalidArgument(field, sentence) from None


def _numbers(values: list[Any], datatype: str, field: str) -> bytes:
    if datatype == "UINT8":
        return bytes(values)  # in half the time
    try:
        with numpy.errstate(over="raise"):
            return numpy.array(values, _DTYPES[datatype]).tobytes()
    except (OverflowError, FloatingPointError):
        raise InvalidArgument(field, f"{field}.data has a number that is too large for {datatype}") from None
