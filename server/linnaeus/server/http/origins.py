"""Requests that the page of another site makes a browser send: told by the headers Origin and Host, and refused."""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from linnaeus.server.http.problems import HttpRefusal

_DENIED = "PERMISSION_DENIED"
_SAFE = ("GET", "HEAD", "OPTIONS")
_HOST = "a request needs one header Host, which names the server that it is for"


class Origins:
    """Knows whose pages may call.

    - A browser says in Origin whose page sends a request that changes something. Only pages of the server itself, and
      of the allowed origin, may. Programs other than browsers send no Origin.
    - A page of another site can have its own name resolve to this machine (DNS rebinding); then Origin and Host agree.
      On a server that only this machine reaches, without TLS and tokens, Host must therefore be an address,
      `localhost`, or the name of the allowed origin. With TLS the browser finds the name in no certificate, with tokens
      the page has none, and the names of a server on a network are unknown.

    Args:
        allowed: an origin whose pages may call, `*` for every one; empty for the server's own alone.
        requires_local_host: whether a request must be for a local name, see above.
    """

    def __init__(self, allowed: str, requires_local_host: bool) -> None:
        self._allowed = allowed
        self._known_names = {"localhost", _host(allowed)} - {""}
        self._requires_local_host = requires_local_host

    def require_own(self, method: str, version: str, headers: Headers) -> None:
        """Refuses a request of another site's page.

        Raises:
            HttpRefusal: if it is one, or has not one Host.
        """
        hosts = headers.getlist("host")
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            raise HttpRefusal(400, _HOST, "INVALID_ARGUMENT")
        host = hosts[0] if hosts else ""
        if self._requires_local_host and host and not self._is_known(host):
            sentence = f"this server is for this machine alone, but was called by the name {host!a:.80}; call localhost"
            raise HttpRefusal(403, f"{sentence}, or set --http-allow-origin to an origin of that name", _DENIED)
        origin = headers.get("origin")
        if origin is None or method in _SAFE or self._allowed == "*" or (self._allowed and self._allowed == origin):
            return
        if _network_location(origin) != host.lower():
            sentence = f"pages of {origin!a:.80} may not call this server"
            raise HttpRefusal(403, f"{sentence}; --http-allow-origin allows the pages of one origin", _DENIED)

    def _is_known(self, host: str) -> bool:
        name = _host("//" + host)
        if self._allowed == "*" or name in self._known_names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _network_location(origin: str) -> str:
    """Returns host and port of an origin; of a malformed one what no Host is."""
    try:
        return urlsplit(origin).netloc.lower() or "?"
    except ValueError:
        return "?"


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower().removesuffix(".")
    except ValueError:
        return ""
