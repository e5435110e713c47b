"""What the operations of the OpenAPI document share: parameters, the problem document, the introduction."""

from typing import Any

from linnaeus.server.http.call_context import TIMEOUT_HEADER
from linnaeus.server.http.openapi.message_schemas import reference
from linnaeus.server.http.problems import MEDIA_TYPE

SAYS = (
    "Image classification. Every request is answered as gRPC answers it: the same models, limits, deadlines, "
    "priorities, tokens and rates. JSON has the field names of the contract, linnaeus/v1/classifier.proto; 64-bit "
    "integers are numbers, bytes are base64, enums are names."
)


def _parameter(name: str, place: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "description": description, "schema": schema}


_STRING = {"type": "string"}
PATH_PARAMETERS = {
    "model": _parameter("model", "path", "The model's name.", _STRING),
    "version": _parameter("version", "path", "The number of the version, or one of its labels.", _STRING),
    "name": _parameter("name", "path", "The name of the model, or of the file.", _STRING),
    "model_name": _parameter("model_name", "path", "The model's name.", _STRING),
}
PARAMETERS = {
    "top_k": _parameter(
        "top_k", "query", "How many classes to return; 0 for 5. Also the header X-Top-K.", {"type": "integer"}
    ),
    "priority": _parameter(
        "priority",
        "query",
        "Who goes first when a device is busy; normal unless given. Also the header X-Priority.",
        {"type": "string", "enum": ["low", "normal", "high"]},
    ),
    "min_probability": _parameter(
        "min_probability",
        "query",
        "Leaves out the classes that are less probable.",
        {"type": "number", "minimum": 0, "maximum": 1},
    ),
    "want_features": _parameter(
        "want_features", "query", "Returns the features of the picture, too.", {"type": "boolean"}
    ),
    "timeout": _parameter(
        TIMEOUT_HEADER.title(),
        "header",
        "The seconds after which the answer is worth nothing: a request that would be late is refused at once, and a "
        "late one is never run.",
        {"type": "number", "exclusiveMinimum": 0},
    ),
    "traceparent": _parameter(
        "traceparent",
        "header",
        "The caller's span, as W3C Trace Context has it; the server's span is its child.",
        _STRING,
    ),
}
PROBLEM = {
    "description": "Why there is no answer (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "details"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string", "description": "The name of the status."},
        "status": {"type": "integer", "description": "The status of the response."},
        "detail": {"type": "string", "description": "What was wrong, in a sentence for the caller."},
        "code": {"type": "string", "description": "The name of gRPC's code for the same error, in capitals."},
        "details": {
            "type": "array",
            "description": "As the status of gRPC has them: BadRequest, ErrorInfo, RetryInfo and others.",
            "items": reference("Any"),
        },
        "error": {"type": "string", "description": "The detail again, where clients of KServe look for it."},
    },
}
PROBLEM_RESPONSE = {
    "description": (
        "A problem. 400: the request is at fault. 401: there is no valid token. 403: the token has not the right. "
        "404: no such model or version. 408: the body came too slowly. 413: the body is too large. "
        "429: too much waits, or the caller's rate is used up. 499: the caller left. 500: the server's own fault. "
        "503: the model is loading, or the server is stopping. 504: the answer would come too late."
    ),
    "headers": {
        "Retry-After": {"description": "When to ask again, in seconds.", "schema": {"type": "integer", "minimum": 1}}
    },
    "content": {MEDIA_TYPE: {"schema": reference("Problem")}},
}
