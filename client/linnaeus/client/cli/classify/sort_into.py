"""`--sort-into`: copies each image into the folder of its label. Nothing is moved or overwritten."""

import io
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

_EMPTY_LABEL = "unnamed"
# Characters that some file system forbids in a name or takes for a separator.
_UNSAFE = frozenset('/\\:*?"<>|')
# The longest name that common file systems allow, in UTF-8.
_MAX_NAME_BYTES = 255


class Sorter:
    """Copies images into `DIRECTORY/<label>/`.

    Invariants:
        - a copy is complete or does not exist;
        - a name that exists gets a number: `cat.jpg`, `cat-2.jpg`, `cat-3.jpg`.

    Args:
        directory: created with the first copy.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)
        self._copies = 0
        self._folders: set[Path] = set()
        # The last number of each name, so that the thousandth copy of a name does not try the 999 before it.
        self._numbers: dict[Path, int] = {}

    @property
    def summary(self) -> str:
        """One line with the number of copies and folders."""
        pictures = "1 picture" if self._copies == 1 else f"{self._copies:,} pictures"
        folders = "1 folder" if len(self._folders) == 1 else f"{len(self._folders):,} folders"
        return f"Copied {pictures} into {folders} of {self._directory}"

    def copy(self, source: str | bytes, name: str, label: str) -> Path:
        """Copies one image.

        Args:
            source: the image's path or content.
            name: the file name of the copy.
            label: `folder_name` makes the folder's name of it.

        Returns:
            The path of the copy.

        Raises:
            OSError: if the image cannot be read or the copy cannot be written.
        """
        folder = self._directory / folder_name(label)
        folder.mkdir(parents=True, exist_ok=True)
        number, written = next(
            (number, path)
            for number, path in _candidates(folder / name, self._numbers.get(folder / name, 1))
            if _write_new(source, path)
        )
        if number > 1:
            self._numbers[folder / name] = number
        self._copies += 1
        self._folders.add(folder)
        return written


def folder_name(label: str) -> str:
    """Returns a safe folder name for a label: not hidden, not empty, no separators, not too long.

    Labels that differ only in unsafe characters share a folder.
    """
    safe = "".join("_" if character in _UNSAFE or not character.isprintable() else character for character in label)
    short = safe.strip(" .").encode("utf-8", "replace")[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
    return short.rstrip(" .") or _EMPTY_LABEL


def _candidates(path: Path, first: int) -> Iterator[tuple[int, Path]]:
    """Yields the path with rising numbers; the number 1 is omitted."""
    for number in count(first):
        yield number, path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def _write_new(source: str | bytes, path: Path) -> bool:
    """Copies, unless the path exists; a copy that fails is removed. Returns whether it copied."""
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as picture:
        try:
            copy = open(path, "xb")  # noqa: SIM115 - opening and copying fail in different ways
        except FileExistsError:
            return False
        try:
            with copy:
                shutil.copyfileobj(picture, copy)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return True
