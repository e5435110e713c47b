"""Which versions of a model are served and what they are called: three keys of its config.toml, read and checked.

versions = "latest:2"               # or "all", or [1, 3]
default_version = "stable"          # or 3
labels = { stable = 3, canary = 4 }
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from linnaeus.server.config.shown_value import shown

_LATEST = re.compile(r"latest(?::([1-9][0-9]{0,8}))?")
# Never a number, so that whoever reads a version knows which of the two it is.
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_POLICY_HELP = 'must be "all", "latest", "latest:N" or a list of version numbers, such as [1, 3]'


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions are to be served.

    Attributes:
        latest: so many, the highest that can be served; 0 for no such bound.
        listed: these, where there is no such bound; empty for all.
    """

    latest: int = 0
    listed: frozenset[int] = frozenset()

    def candidates(self, there: Iterable[int]) -> Iterator[int]:
        """The versions that may be served, the first to be tried first.

        Under `latest` those are tried from the highest downwards until enough of them are ready: one that is refused
        does not count, so that the one before it goes on.
        """
        if self.latest:
            return iter(sorted(there, reverse=True))
        return iter(sorted(number for number in there if number in self.listed or not self.listed))

    def is_enough(self, ready: int) -> bool:
        """Whether so many ready versions are all that is wanted."""
        return self.latest > 0 and ready >= self.latest

    def missing(self, there: Iterable[int]) -> list[int]:
        """Versions that are listed and not there."""
        return sorted(self.listed - set(there))


def read_policy(value: Any) -> VersionPolicy:
    """Reads `versions`.

    Raises:
        ValueError: it makes no sense; the message is a sentence about it.
    """
    latest = _LATEST.fullmatch(value) if isinstance(value, str) else None
    if latest is not None:
        return VersionPolicy(latest=int(latest[1] or 1))
    if value == "all":
        return VersionPolicy()
    if isinstance(value, list) and value and all(map(_is_version, value)):
        return VersionPolicy(listed=frozenset(value))
    raise ValueError(f"versions is {shown(value)}, but {_POLICY_HELP}")


def read_labels(value: Any) -> MappingProxyType[str, int]:
    """Reads `labels`: each with the version it stands for.

    Raises:
        ValueError: it makes no sense; the message is a sentence about it.
    """
    if not isinstance(value, dict):
        raise ValueError(f"labels is {shown(value)}, but must be a table, such as {{ stable = 3, canary = 4 }}")
    for label, version in value.items():
        if not _LABEL.fullmatch(label):
            raise ValueError(
                f"labels.{label!s:.64} must begin with a letter and hold a-z, 0-9, '_' and '-' only, 63 at most"
            )
        if not _is_version(version):
            raise ValueError(f"labels.{label} is {shown(version)}, but must be a version number")
    return MappingProxyType(dict(value))


def read_default(value: Any) -> str:
    """Reads `default_version`: a number or a label, as text.

    Raises:
        ValueError: it is neither; the message is a sentence about it.
    """
    if _is_version(value):
        return str(value)
    if isinstance(value, str) and _LABEL.fullmatch(value):
        return value
    raise ValueError(f"default_version is {shown(value)}, but must be a version number or a label")


def _is_version(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**18
