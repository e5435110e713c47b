"""Finds version folders on disk. Reads names and file attributes only; the runtime checks the files.

Names from requests are looked up among the folders found here and never joined into a path, so no name leads out of the
repository. Symbolic links in the repository are followed: a user who may create them may as well add a model.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from linnaeus.models.manifest import (
    CALIBRATION_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    version_of_folder,
)
from linnaeus.models.model_format import ALL_MODEL_FILES
from linnaeus.server.config.model_settings import CONFIG_FILE
from linnaeus.server.model_store.repository_layout import Layout, layout_of, version_in

# What somebody may have meant as a version: with a sign, a "v", a point, spaces, or digits of other scripts.
_LOOKS_LIKE_VERSION = re.compile(r"\s*[vV+-]?\d[\d_.,]*\s*")
_NO_VERSION = "a version is a positive number of at most 18 digits from 0 to 9"
_NO_MODEL = "the name of a model is text in UTF-8 without control characters"
# Other files in a version folder, such as those that rsync is writing, change nothing of what is served.
_ARTIFACT_FILES = ALL_MODEL_FILES | {MANIFEST_FILE, LABELS_FILE, CALIBRATION_FILE}

# Name, inode, size in bytes and modification time in nanoseconds of each file; of a folder, name and inode.
FolderFingerprint: TypeAlias = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, order=True)
class VersionFolder:
    """The folder `<root>/<model>/<version>`.

    Attributes:
        model, version: name of the model and number of the version.
        path: path of the folder.
        fingerprint: fingerprint of the folder and of its files.
        rivals: names of further folders that stand for the same version, such as `0001` beside `1`.
        served_as: the operator's name for the model, whatever its manifest says; empty for that of its folder.
    """

    model: str
    version: int
    path: Path
    fingerprint: FolderFingerprint = field(default=(), compare=False)
    rivals: tuple[str, ...] = ()
    served_as: str = ""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A snapshot of the folder `<root>/<model>`.

    Attributes:
        name: name of the model.
        path: path of the folder.
        versions: version folders by number, in ascending order.
        config_fingerprint: fingerprint of config.toml; empty if there is none.
        ignored: sentences about folders that look like a version or a model and are none.
    """

    name: str
    path: Path
    versions: dict[int, VersionFolder]
    config_fingerprint: FolderFingerprint
    ignored: tuple[str, ...] = ()


def list_model_folders(root: Path, model_name: str = "") -> dict[str, ModelFolder]:
    """Returns the model folders of the repository by name; a folder removed during the scan counts as empty.

    Args:
        root: the repository; with a `model_name` it may also be one model's folder, or one version's.
        model_name: name of the model if there is only one; empty for the name of its folder.

    Raises:
        OSError: if the repository cannot be read.
    """
    layout = layout_of(root) if model_name else Layout.REPOSITORY
    if layout is not Layout.REPOSITORY:
        return {model_name: _single_model(root, layout, model_name)}
    paths = sorted(path for path in root.iterdir() if not path.name.startswith(".") and path.is_dir())
    folders = {path.name: _model(path) for path in paths}
    return _name_only_model(folders, model_name) if model_name else folders


def _model(path: Path) -> ModelFolder:
    if not path.name.isprintable():  # neither a protocol's message nor a log can hold the name
        return ModelFolder(path.name, path, {}, (), (f"folder {path.name!r} is ignored: {_NO_MODEL}",))
    found, ignored = defaultdict[int, list[Path]](list), []
    for each in sorted(_listed(path)):
        version = version_of_folder(each.name)
        if version is not None and each.is_dir():
            found[version].append(each)
        elif _LOOKS_LIKE_VERSION.fullmatch(each.name) and each.is_dir():
            ignored.append(f"folder {each.name!r} of model {path.name} is ignored: {_NO_VERSION}")
    versions = {version: _version(path.name, version, found[version]) for version in sorted(found)}
    return ModelFolder(path.name, path, versions, _config_fingerprint(path), tuple(ignored))


def _single_model(root: Path, layout: Layout, name: str) -> ModelFolder:
    """Returns the model that a root is, or whose only version it is; both may hold a config.toml."""
    if layout is Layout.MODEL:
        return _named(_model(root), name)
    version = version_in(root)
    return _named(ModelFolder(name, root, {version: _version(name, version, [root])}, _config_fingerprint(root)), name)


def _name_only_model(folders: dict[str, ModelFolder], name: str) -> dict[str, ModelFolder]:
    """Gives the name to the only model that has versions; several keep their own names."""
    found = [folder for folder in folders.values() if folder.versions]
    if len(found) != 1:
        return folders
    others = {folder.name: folder for folder in folders.values() if folder.name not in (found[0].name, name)}
    return others | {name: _named(found[0], name)}


def _named(folder: ModelFolder, name: str) -> ModelFolder:
    versions = {number: replace(each, model=name, served_as=name) for number, each in folder.versions.items()}
    return replace(folder, name=name, versions=versions)


def _config_fingerprint(model: Path) -> FolderFingerprint:
    return tuple(_fingerprints(model, {CONFIG_FILE}))


def _version(model: str, version: int, paths: Sequence[Path]) -> VersionFolder:
    """Describes the folders of one version; there should be one."""
    fingerprint = [each for path in paths for each in (_fingerprint(path), *_fingerprints(path, _ARTIFACT_FILES))]
    rivals = tuple(path.name for path in paths[1:])
    return VersionFolder(model, version, paths[0], tuple(fingerprint), rivals)


def _fingerprint(folder: Path) -> tuple[str, int, int, int]:
    """Returns name and inode of a folder: a folder that is renamed into place is another one, and whole."""
    try:
        return folder.name, folder.stat().st_ino, 0, 0
    except FileNotFoundError:
        return folder.name, 0, 0, 0


def _fingerprints(folder: Path, names: Set[str]) -> Iterator[tuple[str, int, int, int]]:
    for name in sorted(names):
        try:
            status = (folder / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            continue  # not there, removed during the scan, or a dangling link
        yield name, status.st_ino, status.st_size, status.st_mtime_ns


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []  # other errors propagate: they do not mean that versions were removed
