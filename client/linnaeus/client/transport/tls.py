"""TLS settings of a client. Knows nothing of calls; files are read when the settings are turned into credentials."""

import os
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from linnaeus.text_files import without_mark

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"  # after BEGIN, or BEGIN and the kind of key

Pem: TypeAlias = str | os.PathLike[str] | bytes  # a path, or a file's content


@dataclass(frozen=True, slots=True)
class Tls:
    """How the connection is encrypted.

    Attributes:
        ca: the certificates of the authorities that may sign a server's certificate, in PEM; None for gRPC's bundled
            ones.
        certificate: this client's own certificate, in PEM, for a server that requires one; needs `key`.
        key: the private key of `certificate`, in PEM.
        server_name: the name in the server's certificate, if it differs from the one in the address.
    """

    ca: Pem | None = None
    certificate: Pem | None = None
    key: Pem | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        """Checks that a certificate comes with its key.

        Raises:
            ValueError: if one of the two is missing.
        """
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client's certificate needs its key, and the key its certificate: pass both or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files.

        Raises:
            ValueError: if a file cannot be read or is no PEM: gRPC would only fail to connect.
        """
        return grpc.ssl_channel_credentials(
            root_certificates=self.authorities(),
            private_key=_checked("key", _content("key", self.key), _KEY),
            certificate_chain=_checked("certificate", _content("certificate", self.certificate), _CERTIFICATE),
        )

    def authorities(self) -> bytes | None:
        """Reads the certificates of the authorities; None for gRPC's bundled ones.

        Raises:
            ValueError: if the file cannot be read or holds no certificate in PEM.
        """
        return _checked("ca", _content("ca", self.ca), _CERTIFICATE)

    def __repr__(self) -> str:
        """Leaves out the key: representations end up in logs."""
        return f"Tls(server_name={self.server_name!r})"


def parse_tls(tls: "Tls | bool") -> Tls | None:
    """Returns the settings for a client's `tls` argument; None for a plain connection.

    Raises:
        ValueError: if it is neither a `Tls` nor a bool.
    """
    if isinstance(tls, Tls):
        return tls
    if not isinstance(tls, bool):
        raise ValueError(f"tls must be True, False or a Tls value, not {tls!r}")
    return Tls() if tls else None


def _content(name: str, pem: Pem | None) -> bytes | None:
    if pem is None or isinstance(pem, bytes):
        return pem
    try:
        with open(pem, "rb") as file:
            return without_mark(file.read())  # gRPC's library finds no certificate behind a byte order mark
    except (OSError, TypeError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise ValueError(f"tls: the file for {name} cannot be read: {pem}: {cause}") from None


def _checked(name: str, content: bytes | None, mark: bytes) -> bytes | None:
    if content is not None and mark not in content:
        kind = "private key" if mark is _KEY else "certificate"
        raise ValueError(f"tls: the file for {name} holds no {kind} in PEM")
    return content
