"""Callers without a token: known by their certificate, else by the address of their connection."""

import ipaddress
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from linnaeus.server.scheduling import Priority
from linnaeus.server.security.current_caller import Caller

# A subscriber usually has a whole /64 of IPv6 (RFC 6177), so single addresses do not distinguish callers.
_SUBSCRIBER_BITS = 64


def certificate_name(context: Any) -> str:
    """Returns a name for the client's certificate; empty if the connection has none. Asking gRPC for it takes long."""
    identities = context.peer_identities()
    return "certificate:" + b",".join(sorted(identities)).decode("utf-8", "replace") if identities else ""


def caller_without_token(context: Any, has_certificates: bool, max_priority: Priority) -> Caller:
    """Returns the caller of a call by its connection.

    Args:
        context: the call's context.
        has_certificates: whether callers may have certificates.
        max_priority: the highest priority of its requests.
    """
    if has_certificates and (name := certificate_name(context)):
        return Caller(name, name, max_priority)
    return _connection_caller(context.peer(), max_priority)


@lru_cache(maxsize=4096)  # parsing takes several microseconds, and connections have many calls
def _connection_caller(peer: str, max_priority: Priority) -> Caller:
    return Caller(peer_address(peer), peer, max_priority)


def peer_address(peer: str) -> str:
    """Returns the address of a gRPC peer without the port; for IPv6, its /64 network.

    Args:
        peer: `ipv4:192.0.2.1:5000` or `ipv6:%5B2001:db8::1%5D:5000`; any other kind is returned unchanged.
    """
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return peer
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return peer
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _SUBSCRIBER_BITS), strict=False))
