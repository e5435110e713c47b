"""Parameters of requests and tensors: those that say how HTTP brings the tensors, and all others as gRPC has them."""

from typing import Any

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.http.kserve.documents import Parameters

BINARY_SIZE = "binary_data_size"
BINARY_OUTPUT = "binary_data"
BINARY_OUTPUTS = "binary_data_output"
CONTENT_TYPE = "content_type"
_OF_HTTP = frozenset({BINARY_SIZE, BINARY_OUTPUT, BINARY_OUTPUTS, CONTENT_TYPE})


def binary_size(parameters: Parameters, field: str) -> int | None:
    """Returns the size of a tensor's binary data in bytes; None if the tensor is in the JSON.

    Raises:
        InvalidArgument: if it is no size.
    """
    size = (parameters or {}).get(BINARY_SIZE)
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidArgument(field, f"{field}.{BINARY_SIZE} is {size!r:.40}, but must be a number of bytes")
    return size


def flag(parameters: Parameters, name: str, field: str, default: bool = False) -> bool:
    """Returns a parameter that is true or false.

    Raises:
        InvalidArgument: if it is neither.
    """
    value = (parameters or {}).get(name, default)
    if not isinstance(value, bool):
        raise InvalidArgument(field, f"{field}.{name} is {value!r:.40}, but must be true or false")
    return value


def set_parameters(target: Any, parameters: Parameters, field: str) -> None:
    """Sets the parameters of a message, but for those that only HTTP has.

    Args:
        target: the field `parameters` of a message.
        parameters: the parameters.
        field: the path to them, for the error.

    Raises:
        InvalidArgument: if the message has no such kind of parameter.
    """
    for name, value in (parameters or {}).items():
        if name not in _OF_HTTP:
            try:
                setattr(target[name], _kind(value), value)
            except (ValueError, AttributeError):
                must = "be a text, true or false, or a whole number of 64 bits"
                sentence = f"{field}.{name:.40} is {value!r:.40}, but must {must}"
                raise InvalidArgument(field, sentence) from None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool_param"
    if isinstance(value, int):
        return "uint64_param" if value >= 1 << 63 else "int64_param"
    return "string_param" if isinstance(value, str) else "double_param"
