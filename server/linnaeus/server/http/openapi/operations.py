"""What OpenAPI says of each route of /v1, of the probes and of the pages, beyond what the contract says."""

from dataclasses import dataclass, field
from typing import Any

from linnaeus.server.http.openapi.message_schemas import reference

JSON = "application/json"
TEXT = "text/plain"
_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_ADDRESS = "http://localhost:8000"


@dataclass(frozen=True, slots=True)
class Described:
    """A request that the server takes.

    Attributes:
        name: names it; unique.
        tag: the part of the interface that it belongs to.
        summary: says what it is for, in a few words.
        answers: the schema of an answer by its media type.
        method: the method of gRPC that it stands for, whose comment is its description; empty for none.
        description: what is to be said besides.
        right: of the caller's token: infer or admin; empty for none.
        body: the schema of a body by its media type; empty for no body.
        parameters: the parameters besides those of the path.
        command: does it with curl; empty for none.
    """

    name: str
    tag: str
    summary: str
    answers: dict[str, dict[str, Any]]
    method: str = ""
    description: str = ""
    right: str = ""
    body: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    command: str = ""


_CLASSIFY_BODY = {
    "image/*": _BINARY,
    JSON: {"oneOf": [reference("ClassifyRequest"), reference("ClassifyBatchRequest")]},
    "multipart/form-data": {
        "type": "object",
        "description": "Every file is a picture, and its name the picture's id.",
        "properties": {"image": {"type": "array", "items": _BINARY}},
    },
}
_CLASSIFY_ANSWER = {JSON: {"oneOf": [reference("ClassifyResponse"), reference("ClassifyBatchResponse")]}}
_CLASSIFY_SAYS = (
    "The body is the picture, or a ClassifyRequest or ClassifyBatchRequest in JSON, or a form. A form and a "
    "ClassifyBatchRequest are answered with a ClassifyBatchResponse, which has an answer or an error for each picture. "
    "A body of a type that is not named here is taken for the picture."
)
_CLASSIFY_PARAMETERS = ("top_k", "priority", "min_probability", "want_features", "timeout", "traceparent")


def _classify(name: str, summary: str, path: str) -> Described:
    return Described(
        name,
        "Classify",
        summary,
        _CLASSIFY_ANSWER,
        "ClassifierService.Classify",
        _CLASSIFY_SAYS,
        "infer",
        _CLASSIFY_BODY,
        _CLASSIFY_PARAMETERS,
        f"curl --data-binary @cat.jpg {_ADDRESS}{path}",
    )


def _asks(name: str, summary: str, method: str, answer: str, path: str) -> Described:
    answers, command = {JSON: reference(answer)}, f"curl {_ADDRESS}{path}"
    return Described(name, "Models", summary, answers, method, right="infer", parameters=("timeout",), command=command)


def _changes(name: str, summary: str, method: str, path: str) -> Described:
    command = f"curl --request POST --header 'Authorization: Bearer TOKEN' {_ADDRESS}{path}"
    answers = {JSON: reference(f"{method}Response")}
    return Described(name, "Models", summary, answers, f"ModelService.{method}", right="admin", command=command)


def _page(name: str, summary: str, media_type: str) -> Described:
    return Described(name, "Pages", summary, {media_type: {"type": "string"}})


def _probe(name: str, summary: str, path: str) -> Described:
    answers = {TEXT: {"type": "string"}}
    return Described(name, "Probes and metrics", summary, answers, command=f"curl {_ADDRESS}{path}")


_MODEL = "/v1/models/{model}"
_VERSION = "/v1/models/{model}/versions/{version}"
OPERATIONS = {
    ("POST", f"{_MODEL}:classify"): _classify("classify", "Names what is in a picture", "/v1/models/lenet:classify"),
    ("POST", f"{_VERSION}:classify"): _classify(
        "classifyWithVersion", "The same with one version", "/v1/models/lenet/versions/1:classify"
    ),
    ("POST", "/v1/models:classify"): _classify(
        "classifyWithDefault", "The same with the server's default model", "/v1/models:classify"
    ),
    ("GET", "/v1/models"): _asks(
        "listModels",
        "All models, and the server's limits",
        "ClassifierService.ListModels",
        "ListModelsResponse",
        "/v1/models",
    ),
    ("GET", _MODEL): _asks(
        "getModel",
        "The default version of a model",
        "ClassifierService.GetModel",
        "GetModelResponse",
        "/v1/models/lenet",
    ),
    ("GET", _VERSION): _asks(
        "getVersion",
        "One version of a model",
        "ClassifierService.GetModel",
        "GetModelResponse",
        "/v1/models/lenet/versions/1",
    ),
    ("POST", f"{_MODEL}:load"): _changes("loadModel", "Loads a model", "LoadModel", "/v1/models/lenet:load"),
    ("POST", f"{_MODEL}:unload"): _changes("unloadModel", "Unloads a model", "UnloadModel", "/v1/models/lenet:unload"),
    ("POST", f"{_MODEL}:reload"): _changes("reloadModel", "Loads it anew", "ReloadModel", "/v1/models/lenet:reload"),
    ("POST", f"{_VERSION}:unload"): _changes(
        "unloadVersion", "Unloads one version", "UnloadModel", "/v1/models/lenet/versions/1:unload"
    ),
    ("POST", f"{_VERSION}:setDefault"): _changes(
        "setDefault", "Has one version answer", "SetDefaultVersion", "/v1/models/lenet/versions/1:setDefault"
    ),
    ("GET", "/livez"): _probe("livez", "Whether the server answers", "/livez"),
    ("GET", "/readyz"): _probe("readyz", "Whether it takes requests; 503 and why, if it does not", "/readyz"),
    ("GET", "/metrics"): _probe("metrics", "Prometheus' metrics, where --metrics-port is this port", "/metrics"),
    ("GET", "/console/metrics"): Described(
        "consoleMetrics",
        "Probes and metrics",
        "The metrics of the whole server, as the console reads them",
        {TEXT: {"type": "string"}},
        right="infer",
    ),
    ("GET", "/"): _page("console", "The console", "text/html"),
    ("GET", "/docs"): _page("docs", "This page", "text/html"),
    ("GET", "/console/{name}"): _page("consoleFile", "A file of these pages", "*/*"),
    ("GET", "/openapi.json"): Described(
        "openapi", "Pages", "This document", {JSON: {"type": "object"}}, command=f"curl {_ADDRESS}/openapi.json"
    ),
}
