"""The pictures of a folder, by their names alone: nothing here opens a file."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from linnaeus.client.errors import InvalidImage

# What the server decodes; upper case counts as well.
PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def picture_paths(
    folder: str | os.PathLike[str], *, recursive: bool = False, pattern: str | None = None
) -> tuple[Path, ...]:
    """Lists the pictures of a folder, sorted by path; hidden files and folders are left out.

    Args:
        folder: its path, which begins every path in the list.
        recursive: also the folders in it; a link to a folder is not followed, since it may lead in a circle.
        pattern: such as `IMG_*.jpg`, matched against the file's name; None takes every file with the suffix of a
            picture: bmp, gif, jpeg, jpg, png or webp.

    Raises:
        InvalidImage: there is no such folder, it cannot be read, or there is no picture in it.
    """
    try:
        paths = tuple(sorted(_matching(Path(folder), recursive, pattern)))
    except OSError as error:
        raise InvalidImage(f"{os.fspath(folder)}: {_reason(error)}") from None
    if not paths:
        raise InvalidImage(f"{os.fspath(folder)}: {_nothing(recursive, pattern)}")
    return paths


def _matching(folder: Path, recursive: bool, pattern: str | None) -> Iterator[Path]:
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if recursive and entry.is_dir(follow_symlinks=False):
            yield from _matching(folder / entry.name, recursive, pattern)
        elif _is_picture(entry.name, pattern) and entry.is_file():
            yield folder / entry.name


def _is_picture(name: str, pattern: str | None) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES) if pattern is None else fnmatch(name, pattern)


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such folder"
    if isinstance(error, NotADirectoryError):
        return "this is a file, not a folder"
    return error.strerror or str(error)


def _nothing(recursive: bool, pattern: str | None) -> str:
    kind = f"no file named like {pattern}" if pattern is not None else f"no picture ({', '.join(PICTURE_SUFFIXES)})"
    return f"there is {kind} in this folder{' or those below' if recursive else ''}"
