"""What OpenAPI says of KServe's routes: an outline, as the protocol itself is specified elsewhere."""

from typing import Any

from linnaeus.server.http.openapi.operations import JSON, Described

_TAG = "KServe v2"
_OBJECT: dict[str, Any] = {"type": "object"}
_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array"},
        "parameters": _OBJECT,
    },
}
_SAYS = (
    "The Open Inference Protocol v2 with the extension for binary tensors: with the header "
    "Inference-Header-Content-Length the body is JSON of that length, then the tensors."
)


def _tensors(name: str) -> dict[str, Any]:
    """The schema of a request or response, whose tensors are its `inputs` or `outputs`."""
    return {"type": "object", "required": [name], "properties": {name: {"type": "array", "items": _TENSOR}}}


def _asks(name: str, summary: str) -> Described:
    return Described(name, _TAG, summary, {JSON: _OBJECT}, right="infer")


def _changes(name: str, summary: str) -> Described:
    return Described(name, _TAG, summary, {JSON: {}}, right="admin", body={JSON: _OBJECT})


def _infers(name: str, summary: str) -> Described:
    body = {JSON: _tensors("inputs"), "application/octet-stream": _BINARY}
    answers = {JSON: _tensors("outputs"), "application/octet-stream": _BINARY}
    return Described(name, _TAG, summary, answers, description=_SAYS, right="infer", body=body, parameters=("timeout",))


_MODEL, _VERSION = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
KSERVE_OPERATIONS = {
    ("POST", f"{_MODEL}/infer"): _infers("kserveInfer", "Classifies the images of a tensor"),
    ("POST", f"{_VERSION}/infer"): _infers("kserveInferWithVersion", "The same with one version"),
    ("GET", "/v2"): _asks("kserveServer", "The server's name, release and extensions"),
    ("GET", "/v2/"): _asks("kserveServerWithSlash", "The same"),
    ("GET", "/v2/health/live"): _asks("kserveLive", "Whether the server answers"),
    ("GET", "/v2/health/ready"): _asks("kserveReady", "Whether it takes requests; 503 if not"),
    ("GET", _MODEL): _asks("kserveModel", "A model's tensors"),
    ("GET", _VERSION): _asks("kserveVersion", "The same of one version"),
    ("GET", f"{_MODEL}/ready"): _asks("kserveModelReady", "Whether a model is ready; 503 if not"),
    ("GET", f"{_VERSION}/ready"): _asks("kserveVersionReady", "The same of one version"),
    ("GET", f"{_MODEL}/config"): _asks("kserveConfig", "Triton's configuration of a model"),
    ("GET", f"{_VERSION}/config"): _asks("kserveVersionConfig", "The same of one version"),
    ("GET", "/v2/models/stats"): _asks("kserveAllStatistics", "Counters of all models"),
    ("GET", f"{_MODEL}/stats"): _asks("kserveStatistics", "Counters of one model"),
    ("GET", f"{_VERSION}/stats"): _asks("kserveVersionStatistics", "Counters of one version"),
    ("POST", "/v2/repository/index"): Described(
        "kserveIndex",
        _TAG,
        "All models and their states",
        {JSON: {"type": "array", "items": _OBJECT}},
        right="infer",
        body={JSON: _OBJECT},
    ),
    ("POST", "/v2/repository/models/{model_name}/load"): _changes("kserveLoad", "Loads a model"),
    ("POST", "/v2/repository/models/{model_name}/unload"): _changes("kserveUnload", "Unloads a model"),
}
