"""The names in a caller's certificate, as gRPC has them: the same certificate is the same caller in both."""

from typing import Any


def identities(transport: Any) -> tuple[bytes, ...]:
    """Returns the alternative names of the certificate of a connection's other end, else its common names.

    Args:
        transport: the connection; of one without TLS, or without a certificate, the names are empty.
    """
    certificate = transport.get_extra_info("peercert")
    if not certificate:
        return ()
    names = [value for _, value in certificate.get("subjectAltName", ())]
    if not names:
        names = [value for part in certificate["subject"] for key, value in part if key == "commonName"]
    return tuple(str(name).encode() for name in names)
