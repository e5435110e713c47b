"""What a bucket has, made of the names of its objects. Pure, and trusts no name.

Only names that a model, a version and their files may have are taken: none of them can lead out of a folder.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from linnaeus.models.manifest import CALIBRATION_FILE, LABELS_FILE, MANIFEST_FILE, check_name, version_of_folder
from linnaeus.models.model_format import ALL_MODEL_FILES
from linnaeus.server.config.model_settings import CONFIG_FILE

VERSION_FILES = ALL_MODEL_FILES | {MANIFEST_FILE, LABELS_FILE, CALIBRATION_FILE}
# Name of a model and number of a version.
VersionKey: TypeAlias = tuple[str, int]
# A listing of more objects is refused: it takes seconds, and a gigabyte of memory from a million on.
MOST_OBJECTS = 100_000
_MOST_SENTENCES = 20
_LONGEST_FOLDER = 64
_HIDDEN = re.compile(r"\.|_")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An object, or a file of a website.

    Attributes:
        place: its name, as the file system takes it.
        size: in bytes; None if the listing does not say it.
        stamp: what changes with its content, such as its ETag; empty if the listing does not say it.
    """

    place: str = field(repr=False)
    size: int | None = None
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """A version in a bucket.

    Attributes:
        model, number: name of the model and number of the version.
        folder: name of the version's folder, which may have leading zeros.
        files: its files by name; empty if the listing does not look into versions.
    """

    model: str
    number: int
    folder: str
    files: Mapping[str, RemoteFile] = field(default_factory=dict)

    @property
    def key(self) -> VersionKey:
        """Name of the model and number of the version."""
        return self.model, self.number

    @property
    def stamp(self) -> tuple[tuple[str, int | None, str], ...]:
        """What changes with any of its files."""
        return tuple((name, file.size, file.stamp) for name, file in sorted(self.files.items()))


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model in a bucket: its config.toml, None if there is none, and its versions by number."""

    name: str
    config: RemoteFile | None
    versions: Mapping[int, RemoteVersion]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a bucket has: models by name, and sentences about what is ignored."""

    models: Mapping[str, RemoteModel]
    ignored: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is no version."""
        return not any(model.versions for model in self.models.values())


def listing_of(objects: Iterable[tuple[str, RemoteFile | None]]) -> Listing:
    """Makes a listing of objects.

    Args:
        objects: names below the repository with `/` between folders, and the objects; None for a folder.

    Raises:
        ValueError: if there are more than `MOST_OBJECTS`.
    """
    found: dict[str, dict[str, dict[str, RemoteFile]]] = {}
    configs: dict[str, RemoteFile] = {}
    ignored: set[str] = set()
    for count, (name, file) in enumerate(objects, 1):
        if count > MOST_OBJECTS:
            raise ValueError(f"it has more than {MOST_OBJECTS} objects; give the models a folder of their own")
        model, folder, rest = (*name.split("/", 2), "", "")[:3]
        if not folder or _HIDDEN.match(model) or not _is_model(model, ignored):
            continue
        found.setdefault(model, {})
        if folder == CONFIG_FILE and not rest and file is not None:
            configs[model] = file
        elif len(folder) <= _LONGEST_FOLDER and version_of_folder(folder) is not None and (rest or file is None):
            files = found[model].setdefault(folder, {})
            if rest in VERSION_FILES and file is not None:
                files[rest] = file
    models = {name: _model(name, configs.get(name), folders, ignored) for name, folders in sorted(found.items())}
    return Listing(models, tuple(sorted(ignored)))


def _is_model(name: str, ignored: set[str]) -> bool:
    try:
        check_name(name)
    except ValueError:
        if len(ignored) < _MOST_SENTENCES:
            ignored.add(f"{name[:_LONGEST_FOLDER]!r} is ignored: no model can have that name")
        return False
    return True


def _model(
    name: str, config: RemoteFile | None, folders: Mapping[str, Mapping[str, RemoteFile]], ignored: set[str]
) -> RemoteModel:
    versions: dict[int, RemoteVersion] = {}
    rivals: set[int] = set()
    for folder, files in sorted(folders.items()):
        number = version_of_folder(folder) or 0
        if number in versions:
            rivals.add(number)
            both = f"{versions[number].folder!r} and {folder!r}"
            ignored.add(f"the folders {both} of model {name} are both version {number} and are ignored; keep one")
        versions[number] = RemoteVersion(name, number, folder, files)
    return RemoteModel(name, config, {number: each for number, each in versions.items() if number not in rivals})
