"""Who asks, as the command line says it: a token that no list of processes shows, and what the connection must be."""

import os
from dataclasses import dataclass, field

from linnaeus.client.transport.tls import Tls
from linnaeus.client.transport.tokens import read_token

TOKEN_VARIABLE = "LINNAEUS_TOKEN"


@dataclass(frozen=True, slots=True)
class Access:
    """What a client shows and asks for.

    Attributes:
        token: None for none.
        tls: False for a plain connection.
    """

    token: str | None = field(default=None, repr=False)
    tls: Tls | bool = False


def access_from(
    token_file: str | None,
    tls: bool,
    ca: str | None,
    certificate: str | None,
    key: str | None,
    server_name: str | None,
) -> Access:
    """Reads the options, and the token from its file or from the environment; the file wins.

    A flag for the token itself is missing on purpose: every user of the machine can read flags.

    Raises:
        ValueError: the file cannot be read, or a certificate is there without its key.
    """
    from_environment = None if token_file is not None else os.environ.get(TOKEN_VARIABLE) or None
    token = read_token(from_environment, token_file)
    if (ca, certificate, key, server_name) == (None, None, None, None):
        return Access(token, tls)
    return Access(token, Tls(ca=ca, certificate=certificate, key=key, server_name=server_name))
