"""The context of a call over HTTP, with what servicers and the authorizer ask gRPC's context for."""

import re
import time
from collections.abc import Sequence
from urllib.parse import quote

from starlette.requests import Request

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.http.connections.running_request import SCOPE_KEY, RunningRequest

TIMEOUT_HEADER = "x-timeout-seconds"
_MOST_SECONDS = 1e9
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{0,20})?([eE]-?[0-9]{1,2})?", re.ASCII)
# The headers that are read as gRPC's metadata is.
_METADATA = ("authorization", "traceparent", "tracestate")


class HttpContext:
    """Implements what is used of gRPC's `ServicerContext`.

    Args:
        request: the request, of which the body is not read.

    Raises:
        InvalidArgument: if its timeout is not a number of seconds above 0.
    """

    __slots__ = ("_deadline", "_request")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._deadline = _deadline(request)

    def time_remaining(self) -> float | None:
        """Returns the seconds until the deadline; None for no deadline."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """Returns the headers that matter, as often as they were sent."""
        headers = self._request.headers
        return [(name, value) for name in _METADATA for value in headers.getlist(name)]

    def peer(self) -> str:
        """Returns the address and port of the caller, as gRPC writes them."""
        client = self._request.client
        if client is None:
            return "unknown"
        if ":" in client.host:
            return f"ipv6:{quote('[' + client.host + ']', safe=':')}:{client.port}"
        return f"ipv4:{client.host}:{client.port}"

    def peer_identities(self) -> tuple[bytes, ...] | None:
        """Returns the names in the caller's certificate; None if it has none."""
        running: RunningRequest | None = self._request.scope.get(SCOPE_KEY)
        return None if running is None else running.identities or None


def _deadline(request: Request) -> float | None:
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    seconds = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not 0 < seconds <= _MOST_SECONDS:
        raise InvalidArgument("timeout", f"{TIMEOUT_HEADER} is {text!a:.80}, but must be a number of seconds above 0")
    return time.monotonic() + seconds
