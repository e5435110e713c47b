"""What a folder is that is to be served under one name: a repository, one model's folder, or one version's.

KServe copies what is below a storage URI into a folder, so that each of them may turn up there. Without a name that the
operator gives, the server takes every folder for a repository.
"""

from enum import Enum, auto
from pathlib import Path

from linnaeus.models.manifest import MANIFEST_FILE, ManifestError, read_manifest, version_of_folder


class Layout(Enum):
    """What the entries of a folder are."""

    REPOSITORY = auto()
    """Folders of models."""
    MODEL = auto()
    """Folders of one model's versions."""
    VERSION = auto()
    """Files of one version."""


def layout_of(root: Path) -> Layout:
    """Returns what a folder is; an empty one is a repository.

    Raises:
        OSError: if it cannot be read.
    """
    if (root / MANIFEST_FILE).is_file():
        return Layout.VERSION
    return Layout.MODEL if any(map(_is_version, root.iterdir())) else Layout.REPOSITORY


def version_in(root: Path) -> int:
    """Returns the number in a version's manifest; 1 if that is invalid, which refuses the version when it is loaded."""
    try:
        return read_manifest(root).version
    except ManifestError:
        return 1


def _is_version(folder: Path) -> bool:
    """Returns whether a folder is a version's: a model's may be a number too, but has numbers below it."""
    try:
        return _is_number(folder) and not any(map(_is_number, folder.iterdir()))
    except OSError:
        return False


def _is_number(path: Path) -> bool:
    return version_of_folder(path.name) is not None and path.is_dir()
