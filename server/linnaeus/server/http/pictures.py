"""What a request to classify holds: a picture, several of them, or a message in JSON."""

import json
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.http.calls import Call
from linnaeus.server.http.json_messages import from_json
from linnaeus.v1 import classifier_pb2 as v1

PRIORITIES = {"low": v1.PRIORITY_LOW, "normal": v1.PRIORITY_NORMAL, "high": v1.PRIORITY_HIGH}
_TRUE = {"true": True, "1": True, "false": False, "0": False}


async def to_messages(call: Call, max_images: int) -> v1.ClassifyRequest | v1.ClassifyBatchRequest:
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
        message = _from_json(call.body)
    elif kind == "multipart/form-data":
        message = v1.ClassifyBatchRequest(images=await _files(call, max_images))
    else:
        message = v1.ClassifyRequest(image=v1.Image(encoded=call.body))
    _set_parameters(message, call.request)
    return message


def _from_json(body: bytes) -> v1.ClassifyRequest | v1.ClassifyBatchRequest:
    document = parse_json(body)
    if isinstance(document, dict) and "images" in document:
        return from_json(document, v1.ClassifyBatchRequest())
    return from_json(document, v1.ClassifyRequest())


def parse_json(body: bytes) -> Any:
    """Returns the document.

    Raises:
        InvalidArgument: if it is no JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("body", f"the body is no JSON ({str(error):.200}); correct it") from None


async def _files(call: Call, max_images: int) -> list[v1.Image]:
    async def chunks() -> Any:
        yield call.body

    size = max(len(call.body), 1)
    parser = MultiPartParser(
        call.request.headers, chunks(), max_files=max_images, max_fields=max_images, max_part_size=size
    )
    parser.spool_max_size = size  # it is in memory already
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = getattr(error, "message", "") or "it has no boundary"
        raise InvalidArgument("body", f"the body is no multipart form: {reason}; send each picture as a file") from None
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise InvalidArgument("images", "the form has no file; send each picture as one (curl -F image=@cat.jpg)")
    return [v1.Image(encoded=await file.read(), id=file.filename or "") for file in files]


def _set_parameters(message: v1.ClassifyRequest | v1.ClassifyBatchRequest, request: Request) -> None:
    """Sets what path, query and headers say; they precede what JSON says."""
    parameters = request.path_params
    message.model = parameters.get("model", message.model)
    message.version = parameters.get("version", message.version)
    if (text := _parameter(request, "top_k", "x-top-k")) is not None:
        message.top_k = _number(text, "top_k", int)
    if (text := _parameter(request, "priority", "x-priority")) is not None:
        if text.lower() not in PRIORITIES:
            raise InvalidArgument("priority", f"priority is {text!r:.40}, but must be low, normal or high")
        message.priority = PRIORITIES[text.lower()]
    if (text := request.query_params.get("min_probability")) is not None:
        message.min_probability = _number(text, "min_probability", float)
    if (text := request.query_params.get("want_features")) is not None:
        if text.lower() not in _TRUE:
            raise InvalidArgument("want_features", f"want_features is {text!r:.40}, but must be true or false")
        message.want_features = _TRUE[text.lower()]


def _parameter(request: Request, name: str, header: str) -> str | None:
    return request.query_params.get(name, request.headers.get(header))


def _number(text: str, name: str, kind: Any) -> Any:
    try:
        value = kind(text)
        if abs(value) < 1 << 31:  # also not NaN
            return value
    except ValueError:
        pass
    raise InvalidArgument(name, f"{name} is {text!r:.40}, but must be a number")
