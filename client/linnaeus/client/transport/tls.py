"""Who may read along, and who the server takes us for: certificates and tokens, checked once.

Knows nothing of calls or channels; files are read when the value is turned into credentials.
"""

import os
import re
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from linnaeus.client.transport.addresses import Addresses

Pem: TypeAlias = str | os.PathLike[str] | bytes  # a path, or a file's content

# RFC 6750, 2.1: what may follow "Bearer".
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LONGEST_TOKEN_BYTES = 8192  # a server's room for all of a call's metadata


@dataclass(frozen=True, slots=True)
class Tls:
    """How the connection is encrypted.

    Attributes:
        ca: the certificates that a server's may come from, in PEM; None means those that gRPC brings along.
        certificate: this client's own, in PEM, where the server asks for one; then with its `key`.
        key: the private key of `certificate`, in PEM.
        server_name: the name in the server's certificate, where it is not the one in the address.
    """

    ca: Pem | None = None
    certificate: Pem | None = None
    key: Pem | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        """Checks that what belongs together is together.

        Raises:
            ValueError: a certificate without its key, or the other way round.
        """
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client's certificate needs its key, and the key its certificate: pass both or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files.

        Raises:
            ValueError: one of them cannot be read.
        """
        return grpc.ssl_channel_credentials(
            root_certificates=_content("ca", self.ca),
            private_key=_content("key", self.key),
            certificate_chain=_content("certificate", self.certificate),
        )

    def __repr__(self) -> str:
        """Without the key: values end up in logs."""
        return f"Tls(server_name={self.server_name!r})"


def tls_from(tls: "Tls | bool") -> Tls | None:
    """Returns the settings for what a caller said.

    Raises:
        ValueError: it is neither a `Tls` nor a yes or no.
    """
    if isinstance(tls, Tls):
        return tls
    if not isinstance(tls, bool):
        raise ValueError(f"tls must be True, False or a Tls value, not {tls!r}")
    return Tls() if tls else None


def token_from(token: str | None, token_file: str | os.PathLike[str] | None) -> str | None:
    """Returns the token that a caller gave or named the file of; None for neither.

    Raises:
        ValueError: both were given, or the file cannot be read or holds more than a token; never shows it.
    """
    if token_file is None:
        return token
    if token is not None:
        raise ValueError("pass token or token_file, not both")
    try:
        with open(token_file, "rb") as file:
            content = file.read(_LONGEST_TOKEN_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file for token_file cannot be read ({error})") from None
    held = content.strip()
    if len(content) > _LONGEST_TOKEN_BYTES or not _TOKEN.fullmatch(held.decode("ascii", "replace")):
        raise ValueError(f"{os.fspath(token_file)} must hold one token and nothing else")
    return held.decode("ascii")


def call_metadata(token: str | None, addresses: Addresses, tls: Tls | None) -> tuple[tuple[str, str], ...]:
    """Returns what goes with every call.

    Raises:
        ValueError: the token is none, or would travel in the clear; never shows it.
    """
    if token is None:
        return ()
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ValueError("token must be letters, digits and any of . _ ~ + / - =, without spaces or a line's end")
    if tls is None and not addresses.are_local:
        raise ValueError(f"a token to {addresses} would travel readable by all: pass tls=True, or leave out the token")
    return (("authorization", f"Bearer {token}"),)


def _content(name: str, pem: Pem | None) -> bytes | None:
    if pem is None or isinstance(pem, bytes):
        return pem
    try:
        with open(pem, "rb") as file:
            return file.read()
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"tls: the file for {name} cannot be read ({error})") from None
