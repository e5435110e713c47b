"""Files that are read again when they change, for what is rotated while the server runs.

Knows nothing of what is in them: a reader that is passed in makes a value of their contents, or refuses them.
"""

import os
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")
# What tells one content of a file from another: also where the file is replaced, or is a link that is moved.
FileFingerprint = tuple[int, int, int, int]


class ReloadedFiles(Generic[Value]):
    """The value of some files that belong together, as of their last change that could be read.

    Invariants:
        - contents that were changed while they were read are not used: they are read again at the next look;
        - contents that `make` refuses, and files that cannot be read, leave the value as it is; `refused` is told once
          for each such change.

    Not safe to be used from two threads at once.

    Args:
        paths: the files.
        make: turns their contents, in the same order, into the value; raises ValueError to refuse them.
        refused: told why the files cannot be used.

    Raises:
        ValueError, OSError: the files cannot be used from the start.
    """

    def __init__(
        self,
        paths: Sequence[str],
        make: Callable[[list[bytes]], Value],
        refused: Callable[[Exception], None],
    ) -> None:
        self._paths = tuple(paths)
        self._make = make
        self._refused = refused
        self._fingerprints: tuple[FileFingerprint | None, ...] = self._fingerprint()
        self.value = make(self._read())

    def reload_if_changed(self) -> bool:
        """Looks whether the files changed, and reads them if so; says whether the value is a new one."""
        fingerprints = self._fingerprint()
        if fingerprints == self._fingerprints:
            return False
        try:
            value = self._make(self._read())
        except (ValueError, OSError) as error:
            self._fingerprints = fingerprints  # refused once; the next change is the next chance
            self._refused(error)
            return False
        if self._fingerprint() != fingerprints:
            return False  # in the middle of a change
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
    """None for a file that is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
