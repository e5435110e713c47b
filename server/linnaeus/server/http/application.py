"""The ASGI application: the routes, what every response has, and requests that no route takes."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from linnaeus.server.http.origins import Origins
from linnaeus.server.http.problems import HttpRefusal, internal_failure, problem

_NOT_FOUND = "nothing is served at this path; GET /v1/models lists the models, and GET /openapi.json what can be asked"
_EXPOSED = ["retry-after"]


def application(routes: Sequence[BaseRoute], allowed_origin: str = "", requires_local_host: bool = False) -> ASGIApp:
    """Returns the application.

    Args:
        routes: the routes, most frequently called first.
        allowed_origin: an origin whose pages may call, `*` for every one; empty for the server's own alone.
        requires_local_host: whether a request must be for a local name, see `Origins`.
    """
    middleware = [Middleware(_OwnOrigin, origins=Origins(allowed_origin, requires_local_host))]
    if allowed_origin:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=[allowed_origin],
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
        middleware.append(cors)
    handlers = {HTTPException: _no_route, Exception: _failed}
    made = Starlette(routes=list(routes), middleware=middleware, exception_handlers=handlers)
    made.router.redirect_slashes = False  # to where Host says
    return made


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status == 405:
        allow = dict(getattr(error, "headers", None) or {})
        sentence = f"this path takes {allow.get('Allow', 'another method')} only, not {request.method:.20}"
        return HttpRefusal(405, sentence, "UNIMPLEMENTED", allow).response()
    return HttpRefusal(status, _NOT_FOUND, "NOT_FOUND").response()


async def _failed(request: Request, error: Exception) -> Response:
    return problem(internal_failure("an HTTP request", error))


class _OwnOrigin:
    """Refuses requests that another site's page makes a browser send, and marks every response as what it is."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        respond: Callable[[Scope, Receive, Send], Awaitable[None]] = self._app
        try:
            self._origins.require_own(scope["method"], scope["http_version"], Headers(scope=scope))
        except HttpRefusal as refusal:
            respond = refusal.response()
        await respond(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
        await send(message)

    return marked
