"""The names in a caller's certificate, as gRPC has them: the same certificate is the same caller in both."""

import ipaddress
from typing import Any

# gRPC's C core knows these kinds of alternative names, and skips all others.
_KINDS = frozenset({"DNS", "email", "URI", "IP Address"})


def identities(transport: Any) -> tuple[bytes, ...]:
    """Returns the alternative names of the certificate of a connection's other end, else its common name.

    Args:
        transport: the connection; of one without TLS, or without a certificate, the names are empty.
    """
    certificate = transport.get_extra_info("peercert")
    if not certificate:
        return ()
    names = [_as_grpc(kind, value) for kind, value in certificate.get("subjectAltName", ()) if kind in _KINDS]
    if not names:
        names = [value for part in certificate["subject"] for key, value in part if key == "commonName"][:1]
    return tuple(name.encode() for name in names)


def _as_grpc(kind: str, value: str) -> str:
    """Returns a name as gRPC writes it, which shortens addresses of IPv6."""
    return str(ipaddress.ip_address(value.strip())) if kind == "IP Address" else value
