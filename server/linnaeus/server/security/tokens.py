"""Bearer tokens: who a caller is and what it may do, read from a file.

Knows nothing of gRPC. A token is never kept, compared, shown or logged as it is, only its SHA-256 digest.

The file has a line for each token; what follows a # is a comment:

    # name     right   token
    camera-3   infer   sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
    operator   admin   the-token-itself-if-the-file-is-kept-well

A name may have several lines, so that an old and a new token can hold at the same time.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

# RFC 6750, 2.1: what may follow "Bearer".
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_SHORTEST_TOKEN = 16
_LONGEST_FILE_BYTES = 1 << 20


class Right(IntEnum):
    """What a caller may do; a higher right holds the lower ones."""

    INFER = 1
    ADMIN = 2


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever has a token.

    Attributes:
        name: as the file has it; may be logged.
        right: the highest it has.
        digest: SHA-256 of the token, 32 bytes.
    """

    name: str
    right: Right
    digest: bytes = field(repr=False)


class TokenFileError(ValueError):
    """A token file cannot be used; the message names the line and never what stands in it."""


def read_tokens(content: bytes) -> tuple[Holder, ...]:
    """Reads a token file.

    Raises:
        TokenFileWrong: a line is not as it must be, or there is none.
    """
    if len(content) > _LONGEST_FILE_BYTES:
        raise TokenFileError(f"it has more than {_LONGEST_FILE_BYTES} bytes")
    holders = tuple(_holders(content))
    if not holders:
        raise TokenFileError("it holds no token; write a line NAME RIGHT TOKEN for each caller")
    if len({holder.digest for holder in holders}) < len(holders):
        raise TokenFileError("it holds one token twice; give each line a token of its own")
    return holders


def find_holder(token: bytes, holders: Sequence[Holder]) -> Holder | None:
    """Finds whose token it is; None for nobody's.

    Takes as long for any token: every digest is compared, each in constant time (about 0.2 microseconds a line).
    """
    digest = hashlib.sha256(token).digest()
    found = None
    for holder in holders:
        if hmac.compare_digest(digest, holder.digest):
            found = holder
    return found


def _holders(content: bytes) -> Iterator[Holder]:
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        raise TokenFileError("it holds letters beyond ASCII") from None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            yield _holder(number, words)


def _holder(number: int, words: list[str]) -> Holder:
    if len(words) != 3:
        raise TokenFileError(f"line {number} has {len(words)} words, but must be NAME RIGHT TOKEN")
    name, right, token = words
    if not _NAME.fullmatch(name):
        raise TokenFileError(f"line {number}: the name must be at most 64 letters, digits and any of . _ @ -")
    if right not in ("infer", "admin"):
        raise TokenFileError(f"line {number}: the right must be infer or admin")
    return Holder(name, Right[right.upper()], _digest(number, token))


def _digest(number: int, token: str) -> bytes:
    hashed = _DIGEST.fullmatch(token)
    if hashed:
        return bytes.fromhex(hashed[1])
    if not _TOKEN.fullmatch(token) or len(token) < _SHORTEST_TOKEN:
        raise TokenFileError(
            f"line {number}: the token must be sha256: and 64 hexadecimal digits, or at least {_SHORTEST_TOKEN} "
            "letters, digits and any of . _ ~ + / - ="
        )
    return hashlib.sha256(token.encode()).digest()
