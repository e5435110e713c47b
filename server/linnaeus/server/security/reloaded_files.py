"""Files that are reloaded when they change, such as rotated certificates and tokens.

Independent of the files' format: an injected function parses their contents.
"""

import os
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")
# Modification time, size, inode and device: these also change if the file is replaced or its symlink is redirected.
FileFingerprint = tuple[int, int, int, int]


class ReloadedFiles(Generic[Value]):
    """The value parsed from a group of files at their last valid change.

    Invariants:
        - contents that change while they are read are not used, and are read again at the next check;
        - if the files are unreadable or invalid, the value stays; `on_error` is called once per such change.

    Not thread-safe.

    Args:
        paths: the files.
        parse: turns the files' contents, in the order of `paths`, into the value; raises ValueError if they are
            invalid.
        on_error: called with the error when changed files cannot be used.

    Attributes:
        value: the parsed value.

    Raises:
        ValueError: if the files are invalid at construction.
        OSError: if a file cannot be read at construction.
    """

    def __init__(
        self,
        paths: Sequence[str],
        parse: Callable[[list[bytes]], Value],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._paths = tuple(paths)
        self._parse = parse
        self._on_error = on_error
        self._fingerprints: tuple[FileFingerprint | None, ...] = self._fingerprint()
        self.value = parse(self._read())

    def reload_if_changed(self) -> bool:
        """Reads the files if they changed; returns whether the value is new."""
        fingerprints = self._fingerprint()
        if fingerprints == self._fingerprints:
            return False
        try:
            value = self._parse(self._read())
        except (ValueError, OSError) as error:
            self._fingerprints = fingerprints  # reported once; read again after the next change
            self._on_error(error)
            return False
        if self._fingerprint() != fingerprints:
            return False  # the files changed while they were read
        self._fingerprints, self.value = fingerprints, value
        return True

    def _fingerprint(self) -> tuple[FileFingerprint | None, ...]:
        return tuple(_fingerprint(path) for path in self._paths)

    def _read(self) -> list[bytes]:
        contents = []
        for path in self._paths:
            with open(path, "rb") as file:
                contents.append(file.read())
        return contents


def _fingerprint(path: str) -> FileFingerprint | None:
    """Returns a file's fingerprint; None if it cannot be examined: then reading it says why."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
