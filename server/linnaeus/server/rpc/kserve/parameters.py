"""The parameters of requests and tensors. Pure functions."""

import struct
from collections.abc import Mapping

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import InvalidArgument

_MAX_INTEGER = (1 << 63) - 1
_NUMBERS = ("double_param", "int64_param", "uint64_param")
_FLOAT32 = struct.Struct("<f")


def whole_number(parameters: Mapping[str, kserve.InferParameter], name: str, field: str) -> int:
    """Returns an integer parameter, sent signed or unsigned; 0 if it is missing.

    Args:
        parameters: the parameters of a request or a tensor.
        name: the parameter's name.
        field: the parameter's path in the request, for the error.

    Raises:
        InvalidArgument: if the parameter is not an integer from 0 to 2^63 - 1.
    """
    if name not in parameters:
        return 0
    kind = parameters[name].WhichOneof("parameter_choice")
    value: int = getattr(parameters[name], kind) if kind in ("int64_param", "uint64_param") else -1
    if not 0 <= value <= _MAX_INTEGER:
        raise InvalidArgument(field, f"{field} must be a whole number from 0 to {_MAX_INTEGER}, sent as an integer")
    return value


def probability(parameters: Mapping[str, kserve.InferParameter], name: str, field: str) -> float:
    """Returns a probability, rounded to float32 as those of models are; 0.0 if it is missing.

    Args:
        parameters: the parameters of a request or a tensor.
        name: the parameter's name.
        field: the parameter's path in the request, for the error.

    Raises:
        InvalidArgument: if the parameter is not a number between 0 and 1.
    """
    if name not in parameters:
        return 0.0
    kind = parameters[name].WhichOneof("parameter_choice")
    value = float(getattr(parameters[name], kind)) if kind in _NUMBERS else -1.0
    if not 0.0 <= value <= 1.0:
        raise InvalidArgument(field, f"{field} must be a number between 0 and 1, sent as a number")
    rounded: float = _FLOAT32.unpack(_FLOAT32.pack(value))[0]
    return rounded


def refuse_shared_memory(parameters: Mapping[str, kserve.InferParameter], field: str) -> None:
    """Refuses a tensor in shared memory, which this server does not support.

    Raises:
        InvalidArgument: if the tensor is in shared memory.
    """
    if "shared_memory_region" in parameters:
        raise InvalidArgument(field, f"{field} is in shared memory, which is not served: send the contents")
