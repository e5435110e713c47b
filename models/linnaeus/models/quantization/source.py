"""Finds the version of a model in a repository that is to be quantized, and checks that its files are whole."""

from dataclasses import dataclass
from pathlib import Path

from linnaeus.models.manifest import Manifest, read_labels, read_manifest, version_of_folder
from linnaeus.models.model_format import model_files_digest


@dataclass(frozen=True, slots=True)
class Source:
    """A version folder that was read."""

    folder: Path
    manifest: Manifest
    labels: tuple[str, ...]


def find_source(repository: Path, model: str) -> Source:
    """Reads the version that `model` names: `name:version`, or `name` for the newest that is not quantized itself.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if there is none, it is quantized already, or its files are not what its manifest says.
    """
    name, _, version = model.partition(":")
    if not name or "/" in name or name.startswith("."):
        raise ValueError(f"{model!r} is no model; say its name in the repository, or name:version")
    versions = _versions(repository / name)
    if not versions:
        raise ValueError(f"{repository} has no version of {name!r}; linnaeus-zoo export or import writes one")
    if version:
        wanted = version_of_folder(version)
        if wanted not in versions:
            raise ValueError(f"{repository} has no version {version} of {name!r}, but {', '.join(map(str, versions))}")
        return _read(versions[wanted])
    for folder in reversed(versions.values()):
        if read_manifest(folder).quantization is None:
            return _read(folder)
    raise ValueError(f"all versions of {name!r} are quantized already")


def _versions(folder: Path) -> dict[int, Path]:
    """Returns the version folders, the oldest first."""
    found = {version_of_folder(entry.name): entry for entry in folder.iterdir()} if folder.is_dir() else {}
    return dict(sorted((version, entry) for version, entry in found.items() if version is not None))


def _read(folder: Path) -> Source:
    try:
        manifest = read_manifest(folder)
        labels = read_labels(folder, manifest.classes)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    if manifest.quantization is not None:
        raise ValueError(f"{folder} is {manifest.quantization.precision} already; name the version that it was made of")
    if model_files_digest(folder, manifest.model_format) != manifest.sha256:
        raise ValueError(f"{folder}: the model's file is not the one that manifest.json tells of; export it anew")
    return Source(folder, manifest, labels)
