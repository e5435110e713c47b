"""JSON schemas of the contract's messages, as `json_messages` writes and reads them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from linnaeus.server.http.openapi.proto_comments import proto_comments
from linnaeus.v1 import classifier_pb2 as v1

Schema = dict[str, Any]
_ANY = "google.protobuf.Any"
_INTEGERS = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}
_NUMBERS = {FieldDescriptor.TYPE_FLOAT: "float", FieldDescriptor.TYPE_DOUBLE: "double"}


class MessageSchemas:
    """Collects the schemas of messages and of what they are made of.

    Attributes:
        comments: the comments of the contract by the names of what they describe.
    """

    def __init__(self) -> None:
        self.comments = proto_comments(Path(v1.__file__).with_name("classifier.proto"))

    def schemas(self, responses: Iterable[type[Message]], requests: Iterable[type[Message]]) -> dict[str, Schema]:
        """Returns the schemas by name.

        Args:
            responses: always have all of their fields, but for messages and oneofs that are not set.
            requests: may leave out every field, and have no others.
        """
        found = dict[str, Schema]()
        for message in requests:
            self._collect(message.DESCRIPTOR, found, is_request=True)
        for message in responses:
            self._collect(message.DESCRIPTOR, found, is_request=False)
        return dict(sorted(found.items()))

    def _collect(self, message: Any, found: dict[str, Schema], is_request: bool) -> None:
        if message.name in found:
            return
        schema: Schema = self._described(message) | {"type": "object", "properties": {}}
        found[message.name] = schema
        if message.full_name == _ANY:
            schema |= {"description": "One of google.rpc's details of an error.", "required": ["@type"]}
            schema["properties"] = {"@type": {"type": "string"}}
            return
        for field in message.fields:
            schema["properties"][field.name] = self._field(field)
            if field.enum_type is not None:
                found.setdefault(field.enum_type.name, self._enum(field.enum_type))
            elif field.message_type is not None:
                self._collect(field.message_type, found, is_request)
        if is_request:
            schema["additionalProperties"] = False
        else:
            schema["required"] = [field.name for field in message.fields if not field.has_presence]

    def _field(self, field: FieldDescriptor) -> Schema:
        one = _single(field)
        return self._described(field) | ({"type": "array", "items": one} if field.is_repeated else one)

    def _enum(self, enum: EnumDescriptor) -> Schema:
        described = self._described(enum)
        values = [(value.name, self._described(value).get("description", "")) for value in enum.values]
        lines = [f"{name}: {comment}" for name, comment in values if comment]
        description = "\n\n".join([described.get("description", ""), *lines]).strip()
        return {"description": description, "type": "string", "enum": [name for name, _ in values]}

    def _described(self, thing: Any) -> Schema:
        comment = self.comments.get(_name(thing))
        return {"description": comment} if comment else {}


def reference(name: str) -> Schema:
    """Returns a schema that refers to one of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _name(thing: Any) -> str:
    if hasattr(thing, "full_name"):
        return str(thing.full_name).removeprefix("linnaeus.v1.")
    return f"{_name(thing.type)}.{thing.name}"  # the value of an enum


def _single(field: FieldDescriptor) -> Schema:
    if field.message_type is not None:
        return reference(field.message_type.name)
    if field.enum_type is not None:
        return reference(field.enum_type.name)
    if field.type in _INTEGERS:
        return {"type": "integer", "format": _INTEGERS[field.type]}
    if field.type in _NUMBERS:
        return {"type": "number", "format": _NUMBERS[field.type]}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    return {"type": "boolean" if field.type == FieldDescriptor.TYPE_BOOL else "string"}
