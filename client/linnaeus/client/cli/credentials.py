"""The token and the TLS settings of the command line."""

import os
from dataclasses import dataclass, field

from linnaeus.client.transport.tls import Tls
from linnaeus.client.transport.tokens import read_token

TOKEN_VARIABLE = "LINNAEUS_TOKEN"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How the client authenticates and encrypts.

    Attributes:
        token: None for no token.
        tls: False for a plain connection.
    """

    token: str | None = field(default=None, repr=False)
    tls: Tls | bool = False


def read_credentials(
    token_file: str | None,
    tls: bool,
    ca: str | None,
    certificate: str | None,
    key: str | None,
    server_name: str | None,
) -> Credentials:
    """Reads the options, and the token from its file or else from the environment.

    There is deliberately no option for the token itself: every user of a machine can read the options of a process.

    Raises:
        ValueError: if the file cannot be read, or only one of certificate and key is given.
    """
    from_environment = None if token_file is not None else os.environ.get(TOKEN_VARIABLE) or None
    token = read_token(from_environment, token_file)
    if (ca, certificate, key, server_name) == (None, None, None, None):
        return Credentials(token, tls)
    return Credentials(token, Tls(ca=ca, certificate=certificate, key=key, server_name=server_name))
