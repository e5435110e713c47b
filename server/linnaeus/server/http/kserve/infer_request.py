"""A request to infer, from its body to the message that gRPC's callers send. Pure functions."""

import math
from typing import NamedTuple

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import InvalidArgument
from linnaeus.server.http.kserve.documents import InferDocument, InputDocument, OutputDocument, read_document
from linnaeus.server.http.kserve.json_tensors import raw_contents
from linnaeus.server.http.kserve.parameters import (
    BINARY_OUTPUT,
    BINARY_OUTPUTS,
    BINARY_SIZE,
    binary_size,
    flag,
    set_parameters,
)
from linnaeus.server.rpc.kserve.tensors import raw_bytes

JSON_SIZE_HEADER = "Inference-Header-Content-Length"


class InferRequest(NamedTuple):
    """A request to infer.

    Attributes:
        message: as gRPC has it; its contents are raw.
        are_binary: for each output that is wanted, whether it is answered as binary data.
        is_binary: the same for the output that is answered if none is named.
    """

    message: kserve.ModelInferRequest
    are_binary: list[bool]
    is_binary: bool


def json_size(header: str | None, body: bytes) -> int:
    """Returns the size of the JSON at the begin of a body; 0 if the whole body is a tensor.

    Args:
        header: what the request says of it; None if it does not.
        body: the body.

    Raises:
        InvalidArgument: if it is no size, or larger than the body.
    """
    if header is None:
        return len(body)
    size = int(header) if header.isascii() and header.isdigit() and len(header) < 20 else -1
    if not 0 <= size <= len(body):
        sentence = f"{JSON_SIZE_HEADER} is {header!r:.40}, but must be the bytes of JSON in a body of {len(body)}"
        raise InvalidArgument("header", sentence)
    return size


def from_json(body: bytes, size: int, model: str, version: str) -> InferRequest:
    """Returns the request that a body holds.

    Args:
        body: JSON, and after it the binary data of the inputs in their order.
        size: the bytes of the JSON.
        model: the model's name.
        version: its version; empty for the default.

    Raises:
        InvalidArgument: if the body is malformed.
    """
    document = read_document(InferDocument, body, size)
    message = kserve.ModelInferRequest(model_name=model, model_version=version, id=document.id or "")
    set_parameters(message.parameters, document.parameters, "parameters")
    end = size
    for each in document.inputs:
        end += _add_input(message, each, body, end)
    if end != len(body):
        sentence = f"the body has {len(body) - end} bytes after those that the inputs' {BINARY_SIZE} mean"
        raise InvalidArgument("body", sentence)
    is_binary = flag(document.parameters, BINARY_OUTPUTS, "parameters")
    return InferRequest(message, [_add_output(message, each, is_binary) for each in document.outputs or ()], is_binary)


def from_tensor(
    body: bytes, model: str, version: str, metadata: kserve.ModelMetadataResponse.TensorMetadata
) -> InferRequest:
    """Returns the request whose whole body is the only input: a picture, or the pixels of images.

    Args:
        body: the contents.
        model: the model's name.
        version: its version; empty for the default.
        metadata: of the model's input.
    """
    message = kserve.ModelInferRequest(model_name=model, model_version=version)
    is_picture = metadata.datatype == "BYTES"
    sizes = metadata.shape[1:]
    images = 1 if is_picture else max(len(body) // math.prod(sizes), 1)
    message.inputs.add(name=metadata.name, datatype=metadata.datatype, shape=[images, *sizes])
    message.raw_input_contents.append(raw_bytes([body]) if is_picture else body)
    return InferRequest(message, [], True)


def _add_input(message: kserve.ModelInferRequest, document: InputDocument, body: bytes, begin: int) -> int:
    """Adds an input; returns the bytes of the body that it takes."""
    field = f"inputs.{document.name:.40}"
    tensor = message.inputs.add(name=document.name, datatype=document.datatype, shape=document.shape)
    set_parameters(tensor.parameters, document.parameters, field)
    size = binary_size(document.parameters, field)
    has_json = bytes(memoryview(document.data)[:4]) not in (b"", b"null")
    if has_json and size is not None:
        raise InvalidArgument(field, f"{field} has both data and {BINARY_SIZE}; send its contents once")
    if has_json:
        message.raw_input_contents.append(raw_contents(document))
    elif size is not None:
        if begin + size > len(body):
            sentence = f"{field}.{BINARY_SIZE} is {size}, but the body has {len(body) - begin} bytes for it"
            raise InvalidArgument(field, sentence)
        message.raw_input_contents.append(body[begin : begin + size])
    elif "shared_memory_region" not in tensor.parameters:
        raise InvalidArgument(field, f"{field} has neither data nor {BINARY_SIZE}; send its contents")
    return size or 0


def _add_output(message: kserve.ModelInferRequest, document: OutputDocument, is_binary: bool) -> bool:
    """Adds an output that is wanted; returns whether it is answered as binary data."""
    field = f"outputs.{document.name:.40}"
    set_parameters(message.outputs.add(name=document.name).parameters, document.parameters, field)
    return flag(document.parameters, BINARY_OUTPUT, field, is_binary)
