"""/livez and /readyz, as the port of the metrics has them."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from linnaeus.server.http.calls import HttpCalls


def probe_routes(calls: HttpCalls, unready_reason: Callable[[], str]) -> list[BaseRoute]:
    """Returns the routes.

    Args:
        calls: observes the requests.
        unready_reason: returns why the server is not ready, in a sentence; empty if it is.
    """

    async def live(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(request: Request) -> Response:
        reason = unready_reason()
        return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)

    return [
        Route("/livez", calls.observed("/livez", live)),
        Route("/readyz", calls.observed("/readyz", ready)),
    ]
