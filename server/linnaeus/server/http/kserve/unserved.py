"""Requests of Triton's protocol that are not served: each is refused with the reason that gRPC gives."""

from collections.abc import Callable, Sequence
from functools import partial

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from linnaeus.server.http.calls import Call, Endpoint, HttpCalls, Operation
from linnaeus.server.http.problems import HttpRefusal
from linnaeus.server.rpc.kserve.servicer import NAME
from linnaeus.server.rpc.kserve.unserved_calls import REASONS

_PATHS = {
    "/v2/logging": "LogSettings",
    "/v2/trace/setting": "TraceSetting",
    "/v2/models/{name}/trace/setting": "TraceSetting",
    **{
        f"/v2/{kind.lower()}sharedmemory{region}/{call}": f"{kind}SharedMemory{call.capitalize()}"
        for kind in ("System", "Cuda")
        for region in ("", "/region/{region}")
        for call in ("status", "register", "unregister")
    },
}


def unserved_routes(calls: HttpCalls, of_protocol: Callable[[Endpoint], Endpoint]) -> Sequence[BaseRoute]:
    """Returns the routes.

    Args:
        calls: makes the endpoints.
        of_protocol: gives an endpoint's errors the form that the protocol's clients read.
    """
    return [
        Route(
            path,
            of_protocol(calls.endpoint(Operation(NAME, method), partial(_refuse, REASONS[method]))),
            methods=["GET", "POST"],
        )
        for path, method in _PATHS.items()
    ]


async def _refuse(reason: str, call: Call) -> Response:
    raise HttpRefusal(501, reason, "UNIMPLEMENTED")
