"""Who a caller is where no token says so: its certificate, else the address it calls from."""

import ipaddress
from typing import Any
from urllib.parse import unquote

# One subscriber is usually given a /64 of IPv6 (RFC 6177): its single addresses tell nobody apart.
_SUBSCRIBER_BITS = 64


def caller_identity(context: Any) -> str:
    """Names the caller of a call, for the rate limit."""
    identities = context.peer_identities()
    if identities:
        return "certificate:" + b",".join(sorted(identities)).decode("utf-8", "replace")
    return peer_address(context.peer())


def peer_address(peer: str) -> str:
    """Returns the address in gRPC's name of a peer, without the port; of IPv6, the network.

    Args:
        peer: `ipv4:192.0.2.1:5000`, `ipv6:%5B2001:db8::1%5D:5000`, or of another kind, which is returned as it is.
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
