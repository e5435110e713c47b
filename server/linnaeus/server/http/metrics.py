"""The metrics of the whole server, for the console and, if the ports are the same, for Prometheus."""

from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from linnaeus.server.http.calls import Call, HttpCalls, Operation
from linnaeus.server.rpc.classifier import NAME as CLASSIFIER

_CONSOLE_PATH = "/console/metrics"
_PATH = "/metrics"
_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsText(Protocol):
    """Returns the metrics of the whole server in Prometheus' text format."""

    async def __call__(self) -> bytes:
        """Returns the text.

        Raises:
            Unavailable: if the process that gathers it does not respond.
        """


def metrics_routes(calls: HttpCalls, text: MetricsText, is_metrics_port: bool) -> list[BaseRoute]:
    """Returns the routes.

    Args:
        calls: makes the endpoints.
        text: the metrics.
        is_metrics_port: whether there is no port of the metrics but this one: /metrics then takes no token, as there.
    """

    async def for_callers(_: Call) -> Response:
        return _response(await text())

    async def for_all(_: Request) -> Response:
        return _response(await text())

    # Those who may list the models may see how they fare.
    routes: list[BaseRoute] = [
        Route(_CONSOLE_PATH, calls.endpoint(Operation(CLASSIFIER, "ListModels"), for_callers)),
    ]
    if is_metrics_port:
        routes.append(Route(_PATH, calls.observed(_PATH, for_all)))
    return routes


def _response(text: bytes) -> Response:
    return Response(text, headers={"content-type": _MEDIA_TYPE, "cache-control": "no-store"})
