"""The URL of a repository in a bucket or on a website, which may hold a password: no message may show it whole."""

import os
import re
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator

# What each scheme needs: the extra of this package, and the module that its file system imports.
EXTRAS = {
    "s3": ("s3", "s3fs"),
    "gs": ("gcs", "gcsfs"),
    "az": ("azure", "adlfs"),
    "hf": ("hf", "huggingface_hub"),
    "https": ("https", "aiohttp"),
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_MOST_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class RepositoryUrl:
    """A repository's URL.

    Attributes:
        scheme: one of `EXTRAS`.
        text: the URL as it was given, without a slash at its end; secret, as it may hold a password.
        shown: the URL without user and password, for messages.
        secrets: what no message may hold.
    """

    scheme: str
    text: str = field(repr=False)
    shown: str
    secrets: tuple[str, ...] = field(default=(), repr=False)


def repository_url(repository: str) -> RepositoryUrl | None:
    """Returns the URL that a setting is; None for a path on this machine.

    Raises:
        ValueError: if it is a URL that no repository can have; the message is a sentence that does not show it.
    """
    scheme = _SCHEME.match(repository)
    if scheme is None:
        return None
    name = scheme[1].lower()
    if name not in EXTRAS:
        known = ", ".join(f"{each}://" for each in EXTRAS)
        raise ValueError(f"repository begins with {name[:20]}://, but must be a folder or begin with one of {known}")
    text = repository.rstrip("/")
    parts = _parts(name, text)
    place = parts.netloc.rpartition("@")[2] if name == "https" else parts.netloc
    secrets = [each for each in (parts.password, parts.username) if each and name == "https"]
    return RepositoryUrl(name, text, f"{name}://{place}{parts.path}", tuple({*secrets, *map(unquote, secrets)} - {""}))


def _parts(scheme: str, text: str) -> Any:
    """Splits a URL and checks it; names no part of it, as any may be a secret that was put in the wrong place."""
    try:
        parts = urlsplit(text)
        has_place = bool(parts.hostname) and (parts.port is None or scheme == "https")
    except ValueError:
        has_place = False
    if not has_place or not text.isprintable() or " " in text or len(text) > _MOST_CHARACTERS:
        raise ValueError(f"repository must be {scheme}://NAME/FOLDER, without blanks and control characters")
    if parts.query or parts.fragment:
        raise ValueError("repository has a query or a fragment, with which no folder can be listed; leave it out")
    if scheme != "https" and parts.password:
        raise ValueError(f"repository holds a password; {scheme}:// takes credentials from the provider's environment")
    return parts


def _read(repository: str) -> str:
    repository_url(repository)
    return repository


def _text(repository: Any) -> Any:
    return os.fspath(repository) if isinstance(repository, os.PathLike) else repository


# A folder, also as a path, or a URL.
Repository = Annotated[str, BeforeValidator(_text), AfterValidator(_read)]
