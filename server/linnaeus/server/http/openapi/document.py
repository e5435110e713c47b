"""The OpenAPI document of the server, made from its routes and the contract's descriptors."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from linnaeus.server.http.calls import HttpCalls
from linnaeus.server.http.openapi.kserve_operations import KSERVE_OPERATIONS
from linnaeus.server.http.openapi.message_schemas import MessageSchemas
from linnaeus.server.http.openapi.operations import OPERATIONS, Described
from linnaeus.server.http.openapi.parts import PARAMETERS, PATH_PARAMETERS, PROBLEM, PROBLEM_RESPONSE, SAYS
from linnaeus.v1 import classifier_pb2 as v1

PATH = "/openapi.json"
_REQUESTS = (v1.ClassifyRequest, v1.ClassifyBatchRequest)
_RESPONSES = (
    v1.ClassifyResponse,
    v1.ClassifyBatchResponse,
    v1.ListModelsResponse,
    v1.GetModelResponse,
    v1.LoadModelResponse,
    v1.UnloadModelResponse,
    v1.ReloadModelResponse,
    v1.SetDefaultVersionResponse,
)


def openapi_routes(calls: HttpCalls, others: Sequence[BaseRoute], release: str) -> list[BaseRoute]:
    """Returns the route of the document.

    Args:
        calls: observes the requests.
        others: the routes that the document describes besides its own.
        release: the server's own release.
    """
    response: JSONResponse | None = None

    async def answer(request: Request) -> Response:
        nonlocal response
        if response is None:
            response = JSONResponse(document([*others, route], release), headers={"cache-control": "no-cache"})
        return response

    route = Route(PATH, calls.observed("openapi", answer))
    return [route]


def document(routes: Iterable[BaseRoute], release: str) -> dict[str, Any]:
    """Returns the document. Routes that refuse every request are left out."""
    schemas = MessageSchemas()
    paths = dict[str, dict[str, Any]]()
    served = {each for route in routes for each in methods_and_paths(route)}
    for (method, path), described in (OPERATIONS | KSERVE_OPERATIONS).items():
        if (method, path) in served:
            paths.setdefault(path, {})[method.lower()] = _operation(described, path, schemas.comments)
    messages = schemas.schemas(_RESPONSES, _REQUESTS)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Linnaeus", "version": release, "description": SAYS, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": messages | {"Problem": PROBLEM},
            "parameters": PARAMETERS,
            "responses": {"Problem": PROBLEM_RESPONSE},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def methods_and_paths(route: BaseRoute) -> list[tuple[str, str]]:
    """Returns what a route takes, as OpenAPI writes it; HEAD goes with GET."""
    if not isinstance(route, Route):
        return []
    path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
    return [(method, path) for method in sorted(route.methods or ()) if method != "HEAD"]


def _operation(described: Described, path: str, comments: dict[str, str]) -> dict[str, Any]:
    parts = [described.description, comments.get(described.method, ""), _right(described)]
    parameters = [PATH_PARAMETERS[name] for name in re.findall(r"\{(\w+)\}", path)]
    parameters += [{"$ref": f"#/components/parameters/{name}"} for name in described.parameters]
    operation: dict[str, Any] = {
        "operationId": described.name,
        "tags": [described.tag],
        "summary": described.summary,
        "description": "\n\n".join(filter(None, parts)),
        "parameters": parameters,
        "responses": {
            "200": {"description": "The answer.", "content": _content(described.answers)},
            "default": {"$ref": "#/components/responses/Problem"},
        },
        # A server without a token file takes no token.
        "security": [{"token": []}, {}] if described.right else [],
    }
    if described.body:
        operation["requestBody"] = {"required": True, "content": _content(described.body)}
    if described.command:
        operation["x-codeSamples"] = [{"lang": "Shell", "label": "curl", "source": described.command}]
    return operation


def _content(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {media_type: {"schema": schema} for media_type, schema in schemas.items()}


def _right(described: Described) -> str:
    return f"Where the server has a token file, it takes a token with the right {described.right}." * bool(
        described.right
    )
