"""Finds version folders on disk. Reads names and file attributes only; the runtime checks the files.

Names from requests are looked up among the folders found here and never joined into a path, so no name leads out of the
repository. Symbolic links in the repository are followed: a user who may create them may as well add a model.
"""

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from linnaeus.server.config.model_settings import CONFIG_FILE
from linnaeus.server.errors import StartupError

# Canonical positive integers: "1" and "01" would be two folders for one version.
_VERSION = re.compile(r"[1-9][0-9]{0,17}")

_ADVICE = "make one with: linnaeus-zoo export lenet efficientnet_lite0"

# Name, inode, size in bytes and modification time in nanoseconds of each file.
FolderFingerprint: TypeAlias = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, order=True)
class VersionFolder:
    """The folder `<root>/<model>/<version>`.

    Attributes:
        model, version: name of the model and number of the version.
        path: path of the folder.
        fingerprint: fingerprint of its files.
    """

    model: str
    version: int
    path: Path
    fingerprint: FolderFingerprint = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A snapshot of the folder `<root>/<model>`.

    Attributes:
        name: name of the model.
        path: path of the folder.
        versions: version folders by number, in ascending order.
        config_fingerprint: fingerprint of config.toml; empty if there is none.
    """

    name: str
    path: Path
    versions: dict[int, VersionFolder]
    config_fingerprint: FolderFingerprint


def scan(root: Path, wanted: Set[str] = frozenset()) -> list[ModelFolder]:
    """Lists the model folders below `root` that have at least one version, sorted by name.

    Skips folders whose names begin with a dot, because they are being written, and everything in a model folder whose
    name is not a positive integer.

    Args:
        root: the repository.
        wanted: names of the models to list; empty for all.

    Raises:
        StartupError: if `root` is not a folder, a wanted model is missing, or there is no version at all.
    """
    if not root.is_dir():
        raise StartupError(f"the model repository {root} is not a folder; {_ADVICE}")
    models = list_model_folders(root)
    missing = wanted - set(models)
    if missing:
        raise StartupError(f"the model repository {root} has no model {', '.join(sorted(missing))}")
    found = [folder for name, folder in models.items() if not wanted or name in wanted]
    if not any(folder.versions for folder in found):
        raise StartupError(f"the model repository {root} holds no version folder; {_ADVICE}")
    return [folder for folder in found if folder.versions]


def list_model_folders(root: Path) -> dict[str, ModelFolder]:
    """Returns the model folders of the repository by name; a folder removed during the scan counts as empty.

    Raises:
        OSError: if the repository cannot be read.
    """
    paths = sorted(path for path in root.iterdir() if not path.name.startswith(".") and path.is_dir())
    return {path.name: _model(path) for path in paths}


def _model(path: Path) -> ModelFolder:
    versions = (
        VersionFolder(path.name, int(each.name), each, tuple(_fingerprints(each)))
        for each in _listed(path)
        if _VERSION.fullmatch(each.name) and each.is_dir()
    )
    config_fingerprint = tuple(fingerprint for fingerprint in _fingerprints(path) if fingerprint[0] == CONFIG_FILE)
    return ModelFolder(path.name, path, {folder.version: folder for folder in sorted(versions)}, config_fingerprint)


def _fingerprints(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    for path in sorted(_listed(folder)):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # removed during the scan, or a dangling link
        yield path.name, status.st_ino, status.st_size, status.st_mtime_ns


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []  # other errors propagate: they do not mean that versions were removed
