"""What a request to classify holds: a picture, several of them, or a message in JSON."""

import re
from typing import Any

from starlette.requests import Request

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.http.bodies.json_reader import from_json, parse_json
from linnaeus.server.http.bodies.multipart import files_of_form
from linnaeus.server.http.calls import Call
from linnaeus.v1 import classifier_pb2 as v1

PRIORITIES = {"low": v1.PRIORITY_LOW, "normal": v1.PRIORITY_NORMAL, "high": v1.PRIORITY_HIGH}
# What separates the values of a document in JSON; base64 has none of it.
_MARKS = (b",", b"[", b"{")
_MARKS_PER_IMAGE = 64
_MAX_DIGITS = 40
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_TRUE = {"true": True, "1": True, "false": False, "0": False}


def to_messages(call: Call, max_images: int) -> v1.ClassifyRequest | v1.ClassifyBatchRequest:
    """Returns the message that a request stands for.

    JSON is a ClassifyRequest, or a ClassifyBatchRequest if it has `images`. Each file of a form is a picture, with its
    name as its id. Every other body is a picture, whatever its type says: curl says that it sends a form.

    Args:
        call: the request.
        max_images: the files that a form may have at most.

    Raises:
        InvalidArgument: if the body or a parameter is invalid.
    """
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        message = _from_json(call.body, max_images)
    elif kind == "multipart/form-data":
        files = files_of_form(call.request.headers["content-type"], call.body, max_images)
        message = v1.ClassifyBatchRequest(images=[v1.Image(encoded=each.content, id=each.name) for each in files])
    else:
        message = v1.ClassifyRequest(image=v1.Image(encoded=call.body))
    _set_parameters(message, call.request)
    return message


def _from_json(body: bytes, max_images: int) -> v1.ClassifyRequest | v1.ClassifyBatchRequest:
    # Millions of small values would keep the event loop for seconds; the largest request has few, and long ones.
    most = _MARKS_PER_IMAGE * (max_images + 1)
    if sum(map(body.count, _MARKS)) > most:
        raise InvalidArgument("body", f"the JSON has too many parts for {max_images} images; send fewer at once")
    document = parse_json(body)
    if isinstance(document, dict) and "images" in document:
        return from_json(document, v1.ClassifyBatchRequest())
    return from_json(document, v1.ClassifyRequest())


def _set_parameters(message: v1.ClassifyRequest | v1.ClassifyBatchRequest, request: Request) -> None:
    """Sets what path, query and headers say; they precede what JSON says."""
    parameters = request.path_params
    message.model = parameters.get("model", message.model)
    message.version = parameters.get("version", message.version)
    if (text := _parameter(request, "top_k", "x-top-k")) is not None:
        message.top_k = _number(text, "top_k", int)
    if (text := _parameter(request, "priority", "x-priority")) is not None:
        if text.lower() not in PRIORITIES:
            raise InvalidArgument("priority", f"priority is {text!a:.40}, but must be low, normal or high")
        message.priority = PRIORITIES[text.lower()]
    if (text := request.query_params.get("min_probability")) is not None:
        message.min_probability = _number(text, "min_probability", float)
    if (text := request.query_params.get("want_features")) is not None:
        if text.lower() not in _TRUE:
            raise InvalidArgument("want_features", f"want_features is {text!a:.40}, but must be true or false")
        message.want_features = _TRUE[text.lower()]


def _parameter(request: Request, name: str, header: str) -> str | None:
    return request.query_params.get(name, request.headers.get(header))


def _number(text: str, name: str, kind: type[int] | type[float]) -> Any:
    if _NUMBER.fullmatch(text) and len(text) <= _MAX_DIGITS:
        value = float(text)
        if abs(value) < 1 << 31 and (kind is float or value.is_integer()):
            return kind(value)
    wanted = "an integer" if kind is int else "a number"
    raise InvalidArgument(name, f"{name} is {text!a:.40}, but must be {wanted}")
