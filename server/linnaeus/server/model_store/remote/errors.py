"""What went wrong with a bucket, in a sentence that holds no secret."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from linnaeus.server.config.repository_url import RepositoryUrl

_MOST_CHARACTERS = 300
_MOST_READ = 2_000
_USER = re.compile(r"(\w+://)[^/\s@'\"]*@")
# Signatures and tokens come as parameters of URLs, and as what follows some words in any text.
_PARAMETERS = re.compile(r"(\w+://[^\s?'\"<>]*)\?[^\s'\"<>]*")
_NAMED = re.compile(
    r"(?i)\b([\w-]*(?:signature|token|secret|password|credential|accesskeyid|access_key_id|authorization)[\w-]*)"
    r"(>|['\"]?\s*[=:]\s*['\"]?)(?:(?:bearer|basic)\s+)?[^\s&'\"<>,;]+"
)


class BucketError(OSError):
    """The bucket cannot be read; the message is part of a sentence without secrets."""


class VersionRefused(Exception):
    """A version in the bucket cannot be taken as it is; the message is part of a sentence without secrets."""


class VersionIncomplete(Exception):
    """A version in the bucket is not complete yet, or changes while it is read."""


@contextmanager
def reading(url: RepositoryUrl) -> Iterator[None]:
    """Turns whatever a file system raises into a `BucketError`, without its cause, which may hold secrets.

    Raises:
        BucketError: if the body raises anything but what this package itself raises.
    """
    try:
        yield
    except (BucketError, VersionRefused, VersionIncomplete):
        raise
    except Exception as error:  # each provider's library has exceptions of its own, by the dozen
        raise BucketError(without_secrets(_described(error), url)) from None


def without_secrets(text: str, url: RepositoryUrl) -> str:
    """Returns a text in one line of at most 300 characters, without passwords, signatures and parameters of URLs."""
    text = " ".join(text[:_MOST_READ].split())  # the patterns take long for a long word
    text = _PARAMETERS.sub(r"\1", _USER.sub(r"\1", text))
    text = _NAMED.sub(r"\1\2***", text)
    for secret in url.secrets:
        text = text.replace(secret, "***")
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"


def _described(error: BaseException) -> str:
    """Returns what an exception says, or what caused it; its name where it says nothing."""
    said = str(error).strip()
    if isinstance(error, TimeoutError) and not said:
        return "it does not answer in time"
    if isinstance(error, FileNotFoundError):
        return f"there is no such place: {said}"
    return said or (_described(error.__cause__) if error.__cause__ else type(error).__name__)
