"""Messages of the contract as JSON: its own field names, every field present, 64-bit integers as numbers.

protobuf's own JSON writes 64-bit integers as strings, for JavaScript's sake, which reads them exactly up to 2^53;
versions and sizes are far below.
"""

import base64
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from linnaeus.server.errors import InvalidArgument

_Message = TypeVar("_Message", bound=Message)
_MAX_DEPTH = 20


def to_json(message: Message) -> Any:
    """Returns what the JSON of a message is made of. A oneof, and a message that is not set, is left out."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    return {
        name: convert(getattr(message, name))
        for name, convert, has_presence in _fields(message.DESCRIPTOR)
        if not has_presence or message.HasField(name)
    }


def from_json(document: Any, message: _Message) -> _Message:
    """Fills a message from a JSON object, and returns it.

    Raises:
        InvalidArgument: if a field is unknown or has a wrong value; says which.
    """
    if not isinstance(document, dict):
        raise InvalidArgument("body", f"the body is no JSON object, but must be a {message.DESCRIPTOR.name}")
    try:
        return json_format.ParseDict(document, message, max_recursion_depth=_MAX_DEPTH)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        sentence = f"the body is no {message.DESCRIPTOR.name} in JSON: {str(error):.300}"
        raise InvalidArgument("body", sentence) from None


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
    return lambda value: value


def _shortest(value: float) -> float:
    """Returns the number with the fewest digits that is the same float32."""
    return float(str(numpy.float32(value)))
