"""The routes of KServe v2: /v2 and what is below. Each stands for a method of gRPC, with its right and its rate."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.http.bodies.json_messages import to_json
from linnaeus.server.http.calls import Behaviour, Call, Endpoint, HttpCalls, Operation
from linnaeus.server.http.kserve.documents import IndexDocument, RepositoryDocument, read_document
from linnaeus.server.http.kserve.infer_request import JSON_SIZE_HEADER, from_json, from_tensor, json_size
from linnaeus.server.http.kserve.infer_response import infer_response
from linnaeus.server.http.kserve.parameters import set_parameters
from linnaeus.server.http.kserve.unserved import unserved_routes
from linnaeus.server.http.problems import MEDIA_TYPE
from linnaeus.server.rpc.kserve.servicer import NAME, InferenceServicer

_MODEL = "/v2/models/{name}"
_VERSION = _MODEL + "/versions/{version}"
_REPOSITORY = "/v2/repository"


def kserve_routes(calls: HttpCalls, servicer: InferenceServicer) -> Sequence[BaseRoute]:
    """Returns the routes, most frequently called first.

    Args:
        calls: makes the endpoints.
        servicer: answers the requests; it does not see that they do not come by gRPC.
    """
    routes = list[BaseRoute]()

    def add(method: str, behaviour: Behaviour, *paths: str, verb: str = "GET") -> None:
        endpoint = _of_protocol(calls.endpoint(Operation(NAME, method), behaviour))
        routes.extend(Route(path, endpoint, methods=[verb]) for path in paths)

    def of_model(path: str) -> tuple[str, str]:
        return _MODEL + path, _VERSION + path

    infer = partial(_infer, servicer)
    statistics = partial(_model, servicer.ModelStatistics, kserve.ModelStatisticsRequest)
    add("ModelInfer", infer, *of_model("/infer"), verb="POST")
    add("ServerLive", partial(_live, servicer), "/v2/health/live")
    add("ServerReady", partial(_ready, servicer), "/v2/health/ready")
    add("ModelReady", partial(_model_ready, servicer), *of_model("/ready"))
    add("ModelStatistics", statistics, "/v2/models/stats", *of_model("/stats"))
    add("ModelConfig", partial(_config, servicer), *of_model("/config"))
    add("ModelMetadata", partial(_model, servicer.ModelMetadata, kserve.ModelMetadataRequest), *of_model(""))
    add("ServerMetadata", partial(_server_metadata, servicer), "/v2", "/v2/")
    add("RepositoryIndex", partial(_index, servicer), f"{_REPOSITORY}/index", verb="POST")
    for verb, method in (("load", "RepositoryModelLoad"), ("unload", "RepositoryModelUnload")):
        message = getattr(kserve, f"{method}Request")
        behaviour = partial(_operate, getattr(servicer, method), message)
        add(method, behaviour, f"{_REPOSITORY}/models/{{model_name}}/{verb}", verb="POST")
    return [*routes, *unserved_routes(calls, _of_protocol)]


def _of_protocol(endpoint: Endpoint) -> Endpoint:
    """Returns an endpoint whose problem documents are plain JSON: KServe's client reads the sentence of no others."""

    async def answer(request: Request) -> Response:
        response = await endpoint(request)
        if response.media_type == MEDIA_TYPE:
            response.headers["content-type"] = "application/json"
        return response

    return answer


async def _infer(servicer: InferenceServicer, call: Call) -> Response:
    name, version = call.request.path_params["name"], call.request.path_params.get("version", "")
    headers, body = call.request.headers, call.body
    size = json_size(headers.get(JSON_SIZE_HEADER), body)
    if size or not body:
        request = from_json(body, size, name, version)
    else:
        wanted = kserve.ModelMetadataRequest(name=name, version=version)
        metadata = await servicer.ModelMetadata(wanted, _as_grpc(call))
        request = from_tensor(body, name, version, metadata.inputs[0])
    answer = await servicer.ModelInfer(request.message, _as_grpc(call))
    return await infer_response(request, answer, headers.get("accept-encoding", ""))


async def _live(servicer: InferenceServicer, call: Call) -> Response:
    answer = await servicer.ServerLive(kserve.ServerLiveRequest(), _as_grpc(call))
    return _state({"live": answer.live}, answer.live)


async def _ready(servicer: InferenceServicer, call: Call) -> Response:
    answer = await servicer.ServerReady(kserve.ServerReadyRequest(), _as_grpc(call))
    return _state({"ready": answer.ready}, answer.ready)


async def _model_ready(servicer: InferenceServicer, call: Call) -> Response:
    answer = await servicer.ModelReady(kserve.ModelReadyRequest(**call.request.path_params), _as_grpc(call))
    return _state({"name": call.request.path_params["name"], "ready": answer.ready}, answer.ready)


async def _server_metadata(servicer: InferenceServicer, call: Call) -> Response:
    return JSONResponse(to_json(await servicer.ServerMetadata(kserve.ServerMetadataRequest(), _as_grpc(call))))


async def _model(method: Any, message: Any, call: Call) -> Response:
    return JSONResponse(to_json(await method(message(**call.request.path_params), _as_grpc(call))))


async def _config(servicer: InferenceServicer, call: Call) -> Response:
    answer = await servicer.ModelConfig(kserve.ModelConfigRequest(**call.request.path_params), _as_grpc(call))
    return JSONResponse(to_json(answer.config))


async def _index(servicer: InferenceServicer, call: Call) -> Response:
    document = read_document(IndexDocument, call.body or b"{}", len(call.body) or 2)
    answer = await servicer.RepositoryIndex(kserve.RepositoryIndexRequest(ready=document.ready), _as_grpc(call))
    return JSONResponse(to_json(answer)["models"])


async def _operate(method: Any, message: Any, call: Call) -> Response:
    document = read_document(RepositoryDocument, call.body or b"{}", len(call.body) or 2)
    request = message(**call.request.path_params)
    set_parameters(request.parameters, document.parameters, "parameters")
    await method(request, _as_grpc(call))
    return Response(media_type="application/json")


def _state(document: dict[str, Any], is_good: bool) -> Response:
    return JSONResponse(document, 200 if is_good else 503)


def _as_grpc(call: Call) -> Any:
    return call.context
