"""The JSON of inference requests, as the protocol has it. What it does not name is ignored."""

from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from linnaeus.server.errors import InvalidArgument

# What has few elements anyway: each costs the event loop some microseconds.
_FEW = msgspec.Meta(max_length=64)
# Parameters as JSON has them; a list or an object is none.
Parameters: TypeAlias = Annotated[dict[str, bool | int | float | str], _FEW] | None
_Size: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_Document = TypeVar("_Document", bound=msgspec.Struct)
# Reading a number takes up to 80 ns of the event loop. With this many it takes 20 ms, as the typed elements of gRPC do.
MAX_VALUES = 1 << 18


class InputDocument(msgspec.Struct, frozen=True):
    """A tensor. `data` is its contents in JSON, unread; empty if there is none."""

    name: str
    shape: Annotated[list[_Size], _FEW]
    datatype: str
    parameters: Parameters = None
    data: msgspec.Raw = msgspec.Raw()


class OutputDocument(msgspec.Struct, frozen=True):
    """An output that is wanted."""

    name: str
    parameters: Parameters = None


class InferDocument(msgspec.Struct, frozen=True):
    """An inference request."""

    inputs: Annotated[list[InputDocument], _FEW]
    id: str | None = None
    parameters: Parameters = None
    outputs: Annotated[list[OutputDocument], _FEW] | None = None


class IndexDocument(msgspec.Struct, frozen=True):
    """A request for the index of the repository."""

    ready: bool = False


class RepositoryDocument(msgspec.Struct, frozen=True):
    """A request to load or unload a model."""

    parameters: Parameters = None


def read_document(kind: type[_Document], body: bytes, size: int) -> _Document:
    """Returns the document at the begin of a body.

    Args:
        kind: its type.
        body: the body.
        size: the bytes of the document.

    Raises:
        InvalidArgument: if it is no such document, or has too many values.
    """
    if body.count(b",", 0, size) >= MAX_VALUES:
        sentence = f"the JSON has over {MAX_VALUES} values; send tensors as binary data (binary_data_size)"
        raise InvalidArgument("body", sentence)
    document: _Document = read_json(kind, memoryview(body)[:size], "the body")
    return document


def read_json(kind: Any, data: Any, what: str) -> Any:
    """Returns what JSON holds.

    Args:
        kind: the type that it must have.
        data: the JSON.
        what: the name of what is read, for the error.

    Raises:
        InvalidArgument: if it is no JSON, or of another type.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument("body", f"{what} is not as the protocol has it: {str(error):.200}; correct it") from None
