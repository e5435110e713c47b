"""The folder that has the copy of a repository: what is in it, what is being written, and who may write.

<folder>/.copy.json                     which repository it is a copy of; a folder of anything else is left alone
<folder>/.lock                          held by the process that writes
<folder>/<model>/config.toml
<folder>/<model>/<version>/             a version, whole; .source.json in it says what it was copied from
<folder>/<model>/.fetch-<version>-…/    a version that is being written, or was given up; hidden from readers
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from linnaeus.models.manifest import version_of_folder
from linnaeus.server.config.model_settings import CONFIG_FILE
from linnaeus.server.config.repository_url import RepositoryUrl
from linnaeus.server.errors import StartupError
from linnaeus.server.model_store.remote.listing import RemoteVersion, VersionKey
from linnaeus.text_files import reason_of

_COPY_FILE = ".copy.json"
_LOCK_FILE = ".lock"
_SOURCE_FILE = ".source.json"
_DRAFT = ".fetch-"
_GONE = ".gone-"


def folder_of(url: RepositoryUrl, cache_folder: str) -> Path:
    """Returns the folder of a repository's copy in the cache folder; its name ends with that of the repository."""
    last = "".join(letter for letter in url.shown.rpartition("/")[2] if letter.isalnum() or letter in "-_")[:40]
    return Path(cache_folder, "repositories", f"{_digest(url.shown)}-{last}")


class LocalCopy:
    """The copy of one repository. Blocks; the methods that change it belong to the thread that holds `writing`.

    Args:
        root: the folder.
        url: of the repository.
    """

    def __init__(self, root: Path, url: RepositoryUrl) -> None:
        self.root = root
        self._url = url

    def open(self) -> None:
        """Makes the folder, or checks that it is a copy of this repository.

        Raises:
            StartupError: if it is anything else, or cannot be written.
        """
        mark = self.root / _COPY_FILE
        source = json.dumps({"repository": self._url.shown})
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked(fcntl.LOCK_EX):
                if not mark.exists() and not {each.name for each in self.root.iterdir()} - {_LOCK_FILE}:
                    mark.write_text(source, "utf-8")
                is_ours = mark.exists() and mark.read_text("utf-8") == source
        except (OSError, UnicodeDecodeError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else "it is damaged"
            raise StartupError(f"repository_folder {self.root} cannot hold a copy: {reason}") from None
        if not is_ours:
            message = f"repository_folder {self.root} holds something else than a copy of {self._url.shown}"
            raise StartupError(f"{message}; choose an empty folder")

    @contextmanager
    def writing(self) -> Iterator[bool]:
        """Holds the right to write; yields False if another process has it, such as a server that shares the folder."""
        try:
            with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield True
        except BlockingIOError:
            yield False

    def versions(self) -> dict[VersionKey, Path]:
        """Returns the versions that are whole."""
        found = {}
        for model in self._models():
            for folder in model.iterdir():
                number = version_of_folder(folder.name)
                if number is not None and (folder / _SOURCE_FILE).is_file():
                    found[model.name, number] = folder
        return found

    def stamp(self, version: VersionKey) -> str:
        """Returns what a version was copied from, see `stamp_of`; empty if that is not known."""
        try:
            return str(json.loads((self.versions()[version] / _SOURCE_FILE).read_text("utf-8"))["stamp"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def bytes_of(self, version: VersionKey) -> int:
        """Returns the bytes of a version's files."""
        folder = self.versions().get(version)
        return _bytes_in(folder) if folder else 0

    def total_bytes(self) -> int:
        """Returns the bytes of all files, also of those that are being written."""
        return _bytes_in(self.root)

    def draft(self, version: RemoteVersion) -> Path:
        """Returns the hidden folder for a version, with what an earlier attempt has left of the same objects.

        Drafts of the same version from other objects are removed.
        """
        model = self.root / version.model
        draft = model / f"{_DRAFT}{version.folder}-{stamp_of(version)}"
        for other in model.glob(f"{_DRAFT}{version.folder}-*"):
            if other != draft:
                shutil.rmtree(other, ignore_errors=True)
        draft.mkdir(parents=True, exist_ok=True)
        return draft

    def publish(self, version: RemoteVersion, draft: Path) -> None:
        """Has a draft that is whole appear, at once."""
        source = json.dumps({"stamp": stamp_of(version), "repository": self._url.shown})
        (draft / _SOURCE_FILE).write_text(source, "utf-8")
        _sync_to_disk(draft)
        draft.rename(self.root / version.model / version.folder)

    def discard(self, version: RemoteVersion) -> None:
        """Removes the draft of a version."""
        shutil.rmtree(self.draft(version), ignore_errors=True)

    def remove(self, version: VersionKey) -> None:
        """Removes a version: it is gone at once, and its files soon."""
        folder = self.versions().get(version)
        if folder is not None:
            gone = folder.with_name(f"{_GONE}{folder.name}-{os.getpid()}")
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def clean(self, kept: Set[str]) -> None:
        """Removes what earlier attempts left of versions that are not wanted, and empty folders of models.

        Args:
            kept: `model/folder` of the versions whose drafts are kept, and names of the models whose folders are.
        """
        for model in self._models():
            for left in (*model.glob(f"{_DRAFT}*"), *model.glob(f"{_GONE}*")):
                folder = left.name.removeprefix(_DRAFT).rpartition("-")[0]
                if f"{model.name}/{folder}" not in kept:
                    shutil.rmtree(left, ignore_errors=True)
            if model.name not in kept and not any(each.name != CONFIG_FILE for each in model.iterdir()):
                shutil.rmtree(model, ignore_errors=True)

    def config(self, model: str) -> bytes | None:
        """Returns a model's config.toml; None if there is none."""
        try:
            return (self.root / model / CONFIG_FILE).read_bytes()
        except FileNotFoundError:
            return None

    def add_model(self, model: str) -> None:
        """Makes the folder of a model, if there is none."""
        (self.root / model).mkdir(exist_ok=True)

    def set_config(self, model: str, content: bytes | None) -> None:
        """Replaces a model's config.toml, whole; None removes it."""
        path = self.root / model / CONFIG_FILE
        if content is None:
            path.unlink(missing_ok=True)
            return
        draft = path.with_name(f".{CONFIG_FILE}.{os.getpid()}")
        draft.write_bytes(content)
        draft.replace(path)

    def _models(self) -> list[Path]:
        return [each for each in self.root.iterdir() if each.name[0] != "." and each.is_dir()]

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with (self.root / _LOCK_FILE).open("ab") as lock:
            fcntl.flock(lock, how)
            yield


def stamp_of(version: RemoteVersion) -> str:
    """Returns a short name of what a version's objects are; another one once any of them changes."""
    return _digest(repr(version.stamp))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _bytes_in(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _sync_to_disk(folder: Path) -> None:
    """Has the files on the disk before their folder is named: a power cut must not leave a version that is empty."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
