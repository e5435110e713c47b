"""Lists the image files of a folder by name; opens no file."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from linnaeus.client.errors import InvalidImage

# The formats that the server decodes; case does not matter.
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def image_paths(
    folder: str | os.PathLike[str], *, recursive: bool = False, pattern: str | None = None
) -> tuple[Path, ...]:
    """Lists the images of a folder, sorted by path, without hidden files and folders.

    Args:
        folder: the folder's path, with which every returned path begins.
        recursive: whether to include subfolders. A link to a folder is not followed: it may lead in a circle.
        pattern: such as `IMG_*.jpg`, matched against the file's name; None for every file with the suffix of an
            image: bmp, gif, jpeg, jpg, png or webp.

    Raises:
        InvalidImage: if the folder is missing, cannot be read, or holds no image.
    """
    try:
        paths = tuple(sorted(_matching(Path(folder), recursive, pattern)))
    except OSError as error:
        raise InvalidImage(f"{os.fspath(folder)}: {_reason(error)}") from None
    if not paths:
        raise InvalidImage(f"{os.fspath(folder)}: {_empty_reason(recursive, pattern)}")
    return paths


def _matching(folder: Path, recursive: bool, pattern: str | None) -> Iterator[Path]:
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if recursive and entry.is_dir(follow_symlinks=False):
            yield from _matching(folder / entry.name, recursive, pattern)
        elif _is_image(entry.name, pattern) and entry.is_file():
            yield folder / entry.name


def _is_image(name: str, pattern: str | None) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) if pattern is None else fnmatch(name, pattern)


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such folder"
    if isinstance(error, NotADirectoryError):
        return "this is a file, not a folder"
    return error.strerror or str(error)


def _empty_reason(recursive: bool, pattern: str | None) -> str:
    kind = f"no file named like {pattern}" if pattern is not None else f"no picture ({', '.join(IMAGE_SUFFIXES)})"
    return f"there is {kind} in this folder{' or those below' if recursive else ''}"
