"""The files of the console and of the page of OpenAPI: read once, served from memory, nothing else is.

A path is looked up among the names of the files that were read, so that no path reaches another file.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from linnaeus.server.http.calls import Endpoint, HttpCalls
from linnaeus.server.http.problems import HttpRefusal

FOLDER = Path(__file__).parent / "console"
# By the ending of the name; a file with another ending is not served.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
# A page runs its own modules, shows its own pictures and those that its user chose, and asks this server alone.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
# A file is asked for again at each load of the page and sent again only if it has changed: pages fit the server.
HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file to serve.

    Attributes:
        content: its bytes.
        media_type: with the charset, if it is text.
        tag: its entity tag, with the quotes.
    """

    content: bytes
    media_type: str
    tag: str


def read_files(folder: Path = FOLDER) -> dict[str, StaticFile]:
    """Returns the files below a folder by their path in it, with slashes."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in MEDIA_TYPES and path.is_file()]
    return {path.relative_to(folder).as_posix(): _read(path) for path in paths}


def console_routes(calls: HttpCalls, folder: Path = FOLDER) -> list[BaseRoute]:
    """Returns the routes: `/` is index.html, `/docs` is docs.html, and `/console/` has all files.

    Args:
        calls: observes the requests.
        folder: where the files are.
    """
    files = read_files(folder)

    def named(name: str) -> Endpoint:
        async def page(request: Request) -> Response:
            return _response(request, files.get(name))

        return calls.observed("console", page)

    async def file(request: Request) -> Response:
        return _response(request, files.get(request.path_params["name"]))

    return [
        Route("/", named("index.html")),
        Route("/docs", named("docs.html")),
        Route("/console/{name:path}", calls.observed("console", file)),
    ]


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return StaticFile(content, MEDIA_TYPES[path.suffix], tag)


def _response(request: Request, file: StaticFile | None) -> Response:
    if file is None:
        raise HttpRefusal(404, "the console has no such file; it is at /", "NOT_FOUND")
    headers = HEADERS | {"etag": file.tag}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if known & {file.tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
