"""The routes of ClassifierService and ModelService: /v1/models and what is below."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from google.protobuf.message import Message
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from linnaeus.server.http.bodies.json_messages import to_json
from linnaeus.server.http.bodies.pictures import to_messages
from linnaeus.server.http.calls import Call, HttpCalls, Operation
from linnaeus.server.rpc.classifier import NAME as CLASSIFIER
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.model_service import NAME as MODEL_SERVICE
from linnaeus.server.rpc.model_service import ModelServicer
from linnaeus.v1 import classifier_pb2 as v1

_MODELS = "/v1/models"
_MODEL = _MODELS + "/{model}"
_VERSION = _MODEL + "/versions/{version}"
# The verbs of ModelService by their method and message.
_MODEL_VERBS = {
    "load": ("LoadModel", v1.LoadModelRequest),
    "unload": ("UnloadModel", v1.UnloadModelRequest),
    "reload": ("ReloadModel", v1.ReloadModelRequest),
}
_VERSION_VERBS = {
    "unload": ("UnloadModel", v1.UnloadModelRequest),
    "setDefault": ("SetDefaultVersion", v1.SetDefaultVersionRequest),
}


def classify_routes(
    calls: HttpCalls, classifier: ClassifierServicer, models: ModelServicer, max_images: int
) -> Sequence[BaseRoute]:
    """Returns the routes, most frequently called first.

    Args:
        calls: makes the endpoints.
        classifier: answers what is asked of models.
        models: loads and unloads models.
        max_images: the images of one request at most.
    """
    classify = calls.endpoint(Operation(CLASSIFIER, "Classify"), partial(_classify, classifier, max_images))
    list_models = calls.endpoint(Operation(CLASSIFIER, "ListModels"), partial(_list_models, classifier))
    get_model = calls.endpoint(Operation(CLASSIFIER, "GetModel"), partial(_get_model, classifier))
    return [
        *(Route(f"{path}:classify", classify, methods=["POST"]) for path in (_MODEL, _VERSION, _MODELS)),
        Route(_MODELS, list_models),
        *_verb_routes(calls, models, _MODEL, _MODEL_VERBS),
        *_verb_routes(calls, models, _VERSION, _VERSION_VERBS),
        Route(_MODEL, get_model),
        Route(_VERSION, get_model),
    ]


async def _classify(classifier: ClassifierServicer, max_images: int, call: Call) -> Response:
    message, context = to_messages(call, max_images), _as_grpc(call)
    if isinstance(message, v1.ClassifyBatchRequest):
        return _json(await classifier.ClassifyBatch(message, context))
    return _json(await classifier.Classify(message, context))


async def _list_models(classifier: ClassifierServicer, call: Call) -> Response:
    return _json(await classifier.ListModels(v1.ListModelsRequest(), _as_grpc(call)))


async def _get_model(classifier: ClassifierServicer, call: Call) -> Response:
    return _json(await classifier.GetModel(v1.GetModelRequest(**call.request.path_params), _as_grpc(call)))


def _verb_routes(calls: HttpCalls, models: ModelServicer, path: str, verbs: dict[str, Any]) -> list[BaseRoute]:
    routes = list[BaseRoute]()
    for verb, (method, message) in verbs.items():
        behaviour = partial(_operate, getattr(models, method), message)
        endpoint = calls.endpoint(Operation(MODEL_SERVICE, method), behaviour)
        routes.append(Route(f"{path}:{verb}", endpoint, methods=["POST"]))
    return routes


async def _operate(method: Any, message: Any, call: Call) -> Response:
    return _json(await method(message(**call.request.path_params), _as_grpc(call)))


def _as_grpc(call: Call) -> Any:
    return call.context


def _json(message: Message) -> Response:
    return JSONResponse(to_json(message))
