"""Messages of the contract as JSON: its own field names, every field present, 64-bit integers as numbers.

protobuf's own JSON writes 64-bit integers as strings, for JavaScript's sake, which reads them exactly up to 2^53;
versions and sizes are far below.
"""

import base64
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message


def to_json(message: Message) -> Any:
    """Returns what the JSON of a message is made of. A oneof, and a message that is not set, is left out."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    return {
        name: convert(getattr(message, name))
        for name, convert, has_presence in _fields(message.DESCRIPTOR)
        if not has_presence or message.HasField(name)
    }


@cache
def _fields(descriptor: Descriptor) -> list[tuple[str, Callable[[Any], Any], bool]]:
    return [(field.name, _converter(field), field.has_presence) for field in descriptor.fields]


def _converter(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        convert = _single_converter(field.message_type.fields_by_name["value"])
        return lambda entries: {str(key): convert(value) for key, value in entries.items()}
    convert = _single_converter(field)
    if field.is_repeated:
        return lambda values: [convert(value) for value in values]
    return convert


def _single_converter(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return to_json
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda number: names.get(number, number)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda data: base64.b64encode(data).decode()
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return _shortest
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return _finite
    return lambda value: value


def _shortest(value: float) -> float | str:
    """Returns the number with the fewest digits that is the same float32."""
    return _finite(float(str(numpy.float32(value))))


def _finite(value: float) -> float | str:
    """Returns a number, or the text that protobuf has for what is no number in JSON."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
