"""Bearer tokens: read from an argument or a file, checked once, sent as metadata. No message shows a token."""

import os
import re

from linnaeus.client.transport.addresses import Addresses
from linnaeus.client.transport.tls import Tls
from linnaeus.text_files import TextFileError, decode_text

# RFC 6750, 2.1: what may follow "Bearer".
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_MAX_TOKEN_BYTES = 8192  # a server's default limit for all metadata of a call


def read_token(token: str | None, token_file: str | os.PathLike[str] | None) -> str | None:
    """Returns the token from the argument or from the file; None if neither is given.

    Raises:
        ValueError: if both are given, or the file cannot be read or does not hold exactly one token.
    """
    if token_file is None:
        return token
    if token is not None:
        raise ValueError("pass token or token_file, not both")
    try:
        with open(token_file, "rb") as file:
            content = file.read(_MAX_TOKEN_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file for token_file cannot be read: {token_file}: {error.strerror or error}") from None
    try:
        found = decode_text(content[:_MAX_TOKEN_BYTES]).strip()
    except TextFileError as error:
        raise ValueError(f"{os.fspath(token_file)} must hold one token and nothing else: {error}") from None
    if len(content) > _MAX_TOKEN_BYTES or not _TOKEN.fullmatch(found):
        raise ValueError(f"{os.fspath(token_file)} must hold one token and nothing else")
    return found


def call_metadata(token: str | None, addresses: Addresses, tls: Tls | None) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of every call.

    Raises:
        ValueError: if the token is malformed, or would be sent unencrypted to another machine.
    """
    if token is None:
        return ()
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ValueError("token must be letters, digits and any of . _ ~ + / - =, without spaces or a line's end")
    if tls is None and not addresses.are_local:
        raise ValueError(f"a token to {addresses} would travel readable by all: pass tls=True, or leave out the token")
    return (("authorization", f"Bearer {token}"),)
