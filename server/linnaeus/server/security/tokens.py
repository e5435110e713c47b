"""Bearer tokens: the format of the token file, and the lookup of a token's holder. Independent of gRPC.

Tokens are stored and compared only as SHA-256 digests; neither tokens nor digests are shown or logged.

The file has one line per token; a # starts a comment:

    # name     right   token
    camera-3   infer   sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
    operator   admin   the-token-itself-if-the-file-is-kept-well
    backfill   infer   another-token-0123456789   max_priority=low

The optional last word bounds the priority that the caller's requests may claim: high, normal or low.
A name may have several lines, so that an old and a new token are valid at the same time.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from linnaeus.server.scheduling import Priority
from linnaeus.text_files import TextFileError, decode_text, lines_of

# RFC 6750, section 2.1: the token after "Bearer".
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_MIN_TOKEN_LENGTH = 16
_MAX_FILE_BYTES = 1 << 20
# The names of priorities in the token file and in the settings.
PRIORITY_NAMES = {priority.name.lower(): priority for priority in Priority}


class Right(IntEnum):
    """The right of a caller; a higher right includes the lower ones."""

    INFER = 1
    ADMIN = 2


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """The holder of one token.

    Attributes:
        name: the name in the file; may be logged.
        right: the highest right that the token gives.
        digest: SHA-256 of the token, 32 bytes.
        max_priority: the highest priority of the caller's requests; higher claims are lowered to it.
    """

    name: str
    right: Right
    digest: bytes = field(repr=False)
    max_priority: Priority = Priority.HIGH

    @property
    def identity(self) -> str:
        """The name under which the caller's calls and bytes are counted."""
        return f"token:{self.name}"


class TokenFileError(ValueError):
    """A token file is invalid; the message names the line and never quotes its content."""


def read_tokens(content: bytes) -> tuple[TokenHolder, ...]:
    """Parses the content of a token file.

    Raises:
        TokenFileError: if a line is invalid, a token occurs twice, or there is no token.
    """
    if len(content) > _MAX_FILE_BYTES:
        raise TokenFileError(f"it has more than {_MAX_FILE_BYTES} bytes")
    holders = tuple(_holders(content))
    if not holders:
        raise TokenFileError("it holds no token; write a line NAME RIGHT TOKEN for each caller")
    if len({holder.digest for holder in holders}) < len(holders):
        raise TokenFileError("it holds one token twice; give each line a token of its own")
    return holders


def find_holder(token: bytes, holders: Sequence[TokenHolder]) -> TokenHolder | None:
    """Returns the holder of a token; None if the token is unknown.

    The time does not depend on the token: all digests are compared, each in constant time (about 0.2 microseconds a
    line).
    """
    digest = hashlib.sha256(token).digest()
    found = None
    for holder in holders:
        if hmac.compare_digest(digest, holder.digest):
            found = holder
    return found


def _holders(content: bytes) -> Iterator[TokenHolder]:
    try:
        text = decode_text(content)
    except TextFileError as error:
        raise TokenFileError(str(error)) from None
    if not text.isascii():
        raise TokenFileError("it holds letters beyond ASCII")
    for number, line in enumerate(lines_of(text), 1):
        words = line.partition("#")[0].split()
        if words:
            yield _holder(number, words)


def _holder(number: int, words: list[str]) -> TokenHolder:
    if len(words) not in (3, 4):
        raise TokenFileError(f"line {number} has {len(words)} words, but must be NAME RIGHT TOKEN")
    name, right, token, *caps = words
    if not _NAME.fullmatch(name):
        raise TokenFileError(f"line {number}: the name must be at most 64 letters, digits and any of . _ @ -")
    if right not in ("infer", "admin"):
        raise TokenFileError(f"line {number}: the right must be infer or admin")
    max_priority = _max_priority(number, caps[0]) if caps else Priority.HIGH
    return TokenHolder(name, Right[right.upper()], _digest(number, token), max_priority)


def _max_priority(number: int, word: str) -> Priority:
    key, _, name = word.partition("=")
    if key != "max_priority" or name not in PRIORITY_NAMES:
        choices = ", ".join(f"max_priority={each}" for each in PRIORITY_NAMES)
        raise TokenFileError(f"line {number} has 4 words, but the last may only be one of {choices}")
    return PRIORITY_NAMES[name]


def _digest(number: int, token: str) -> bytes:
    hashed = _DIGEST.fullmatch(token)
    if hashed:
        return bytes.fromhex(hashed[1])
    if not _TOKEN.fullmatch(token) or len(token) < _MIN_TOKEN_LENGTH:
        raise TokenFileError(
            f"line {number}: the token must be sha256: and 64 hexadecimal digits, or at least {_MIN_TOKEN_LENGTH} "
            "letters, digits and any of . _ ~ + / - ="
        )
    return hashlib.sha256(token.encode()).digest()
