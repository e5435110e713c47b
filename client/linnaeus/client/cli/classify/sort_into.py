"""Copies pictures into one folder a label. Copies only: nothing is moved, and nothing that exists is overwritten."""

import io
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

_NAMELESS = "unnamed"
# What some file system refuses in a name, or takes for a separator.
_UNSAFE = frozenset('/\\:*?"<>|')
# What the common file systems allow for one name, in UTF-8.
_LONGEST_BYTES = 255


class Sorter:
    """Puts a copy of each picture into `DIRECTORY/<label>/`.

    Invariants:
        - a copy is whole, or it is not there;
        - a name that is taken gets a number: `cat.jpg`, `cat-2.jpg`, `cat-3.jpg`.

    Args:
        directory: is made with the first copy.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)
        self._copies = 0
        self._folders: set[Path] = set()
        # The last number given to a name, so that the thousandth of a name does not try the 999 before.
        self._taken: dict[Path, int] = {}

    @property
    def summary(self) -> str:
        """One line: how much was copied, and where."""
        pictures = "1 picture" if self._copies == 1 else f"{self._copies:,} pictures"
        folders = "1 folder" if len(self._folders) == 1 else f"{len(self._folders):,} folders"
        return f"Copied {pictures} into {folders} of {self._directory}"

    def copy(self, source: str | bytes, name: str, label: str) -> Path:
        """Copies one picture.

        Args:
            source: its path, or its content.
            name: the file name the copy is to have.
            label: the folder's name, once it is safe.

        Returns:
            Where the copy is.

        Raises:
            OSError: it cannot be read or written.
        """
        folder = self._directory / folder_name(label)
        folder.mkdir(parents=True, exist_ok=True)
        number, written = next(
            (number, path)
            for number, path in _candidates(folder / name, self._taken.get(folder / name, 1))
            if _write_new(source, path)
        )
        if number > 1:
            self._taken[folder / name] = number
        self._copies += 1
        self._folders.add(folder)
        return written


def folder_name(label: str) -> str:
    """Makes a label safe as the name of one folder: not hidden, not empty, no separators, not too long.

    Labels that differ in unsafe letters only share a folder.
    """
    kept = "".join("_" if letter in _UNSAFE or not letter.isprintable() else letter for letter in label)
    short = kept.strip(" .").encode("utf-8", "replace")[:_LONGEST_BYTES].decode("utf-8", "ignore")
    return short.rstrip(" .") or _NAMELESS


def _candidates(path: Path, first: int) -> Iterator[tuple[int, Path]]:
    """The path with one number after another; the number 1 is left out."""
    for number in count(first):
        yield number, path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _write_new(source: str | bytes, path: Path) -> bool:
    """Copies, unless the name is taken; a copy that fails half-way is removed."""
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as picture:
        try:
            copy = open(path, "xb")  # noqa: SIM115 - a name that is taken is an answer, a failed copy is not
        except FileExistsError:
            return False
        try:
            with copy:
                shutil.copyfileobj(picture, copy)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return True
