"""Finds version folders on disk. Reads names and file attributes only; the runtime checks the files.

Names from requests are looked up among the folders found here and never joined into a path, so no name leads out of the
repository. Symbolic links in the repository are followed: a user who may create them may as well add a model.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeAlias

from linnaeus.models.manifest import (
    CALIBRATION_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    version_of_folder,
)
from linnaeus.models.model_format import ALL_MODEL_FILES
from linnaeus.server.config.model_settings import CONFIG_FILE
from linnaeus.server.errors import StartupError
from linnaeus.server.model_store.repository_layout import Layout, layout_of, version_in
from linnaeus.server.model_store.repository_statistics import RepositoryStatistics
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.text_files import reason_of

# What somebody may have meant as a version: with a sign, a "v", a point, spaces, or digits of other scripts.
_LOOKS_LIKE_VERSION = re.compile(r"\s*[vV+-]?\d[\d_.,]*\s*")
_NO_VERSION = "a version is a positive number of at most 18 digits from 0 to 9"
_NO_MODEL = "the name of a model is text in UTF-8 without control characters"
# Other files in a version folder, such as those that rsync is writing, change nothing of what is served.
_ARTIFACT_FILES = ALL_MODEL_FILES | {MANIFEST_FILE, LABELS_FILE, CALIBRATION_FILE}

_ZOO_IS_INSTALLED = find_spec("torchvision") is not None  # the extra zoo has it, the extra server has not
ADVICE = (
    "make one with: linnaeus-zoo export lenet efficientnet_lite0"
    if _ZOO_IS_INSTALLED
    else "copy one here, or make one: pip install 'linnaeus[zoo]', then linnaeus-zoo export lenet efficientnet_lite0"
)
# The name of `ModelRepository.follow` in reports of faults.
FOLLOW_PART = "repository_copy"
# Begins the sentence about a start of which no version can be served; the reasons follow.
NO_MODEL = "no model can be served: "

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


class ModelRepository(Protocol):
    """Where the folders of models come from. The methods that are no coroutines block; any thread may call them."""

    @property
    def name(self) -> str:
        """The repository, as messages name it."""

    @property
    def root(self) -> Path:
        """The folder in which the folders of the models are, or will be."""

    @property
    def statistics(self) -> RepositoryStatistics | None:
        """What was copied; None if nothing is."""

    async def open(self) -> None:
        """Makes readable what the start needs.

        Raises:
            StartupError: if that is impossible.
        """

    async def follow(self, seconds: float, supervisor: Supervisor) -> None:
        """Keeps what is readable up to date until cancelled; returns at once if it always is.

        Args:
            seconds: interval between two looks.
            supervisor: receives faults.
        """

    def folders(self) -> dict[str, ModelFolder]:
        """Returns the model folders by name, also those that must be fetched before they can be read.

        Raises:
            OSError: if they cannot be listed.
        """

    def fetch(self, model: str) -> None:
        """Makes the wanted versions of a model readable, if the repository has the model.

        Raises:
            OSError: if that is impossible and no version of the model is readable; the message is a sentence.
        """


@dataclass(frozen=True, slots=True)
class FolderRepository:
    """A repository on a disk, which has nothing to fetch.

    Attributes:
        root: its folder.
        model_name: as in `list_model_folders`.
    """

    root: Path
    model_name: str = ""

    @property
    def name(self) -> str:
        """The path."""
        return str(self.root)

    @property
    def statistics(self) -> None:
        """None."""

    async def open(self) -> None:
        """Does nothing."""

    async def follow(self, seconds: float, supervisor: Supervisor) -> None:
        """Does nothing."""

    def folders(self) -> dict[str, ModelFolder]:
        """See `ModelRepository`."""
        return list_model_folders(self.root, self.model_name)

    def fetch(self, model: str) -> None:
        """Does nothing."""


def list_at_start(
    repository: ModelRepository, wanted: Set[str] = frozenset(), default_model: str = ""
) -> dict[str, ModelFolder]:
    """Returns the model folders of the repository by name, and checks that those that the settings name are there.

    Skips folders whose names begin with a dot, because they are being written, and everything in a model folder whose
    name is not a positive integer; leading zeros are allowed.

    Args:
        repository: the repository.
        wanted: names of the models to serve; empty for all.
        default_model: name of the default model; empty for none.

    Raises:
        StartupError: if it is not a folder or cannot be read, or a named model is missing.
    """
    name = repository.name
    try:
        if not repository.root.is_dir():
            raise StartupError(f"the model repository {name} is not a folder; {ADVICE}")
        folders = repository.folders()
    except OSError as error:
        raise StartupError(f"the model repository {name} cannot be read: {reason_of(error)}") from None
    missing = wanted - set(folders)
    if missing:
        raise StartupError(f"the model repository {name} has no model {', '.join(sorted(missing))}")
    if default_model and default_model not in folders:
        named = f"{default_model}, which --default-model names"
        raise StartupError(f"the model repository {name} has no model {named}")
    return folders


def wanted_at_start(name: str, folders: Mapping[str, ModelFolder], wanted: Set[str]) -> list[ModelFolder]:
    """Returns the folders to serve that have at least one version, sorted by name.

    Args:
        name: the repository, as messages name it.
        folders: its model folders by name.
        wanted: names of the models to serve; empty for all.

    Raises:
        StartupError: if there is no version at all.
    """
    found = [folder for name, folder in sorted(folders.items()) if folder.versions and name in (wanted or folders)]
    if not found:
        raise StartupError(f"the model repository {name} holds no version folder; {ADVICE}")
    return found


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
