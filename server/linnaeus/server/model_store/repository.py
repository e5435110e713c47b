"""Finds version folders on disk. It reads names and stamps only; whether a folder is fit is the runtime's question.

Names from outside are looked up among what was found here and never joined into a path, so none leads out of the
repository. A symbolic link in the repository is followed: whoever may write there may as well put a model there.
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

# Of each file its name, which file it is, its size and when it was last written: what changes when a file does.
FolderFingerprint: TypeAlias = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, order=True)
class VersionFolder:
    """`<root>/<model>/<version>`.

    Attributes:
        model, version, path: as told.
        fingerprint: of the files in it.
    """

    model: str
    version: int
    path: Path
    fingerprint: FolderFingerprint = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """`<root>/<model>`, as it was at one moment.

    Attributes:
        name, path: as told.
        versions: by number, growing.
        config_fingerprint: of config.toml; empty if there is none.
    """

    name: str
    path: Path
    versions: dict[int, VersionFolder]
    config_fingerprint: FolderFingerprint


def scan(root: Path, wanted: Set[str] = frozenset()) -> list[ModelFolder]:
    """Lists the model folders below `root` that hold a version, by name.

    Folders whose name begins with a dot are being written and are passed over, as is everything that is not a
    positive integer below a model.

    Args:
        root: the repository.
        wanted: models to look for; empty for all.

    Raises:
        StartupError: there is no such folder, a wanted model is not in it, or it holds no version at all.
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
    """What the repository holds at this moment, by model; a folder that is gone by now holds nothing.

    Raises:
        OSError: the repository cannot be read.
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
            continue  # it was there a moment ago, or is a link to nothing
        yield path.name, status.st_ino, status.st_size, status.st_mtime_ns


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []  # any other error is no sign that versions were removed
