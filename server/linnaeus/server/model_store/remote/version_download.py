"""Fetches one version into a hidden folder, goes on where an earlier attempt ended, and checks what came.

A version is complete once its manifest, its labels and the files that the manifest asks for are there; it is whole once
their digests match and its objects are the same as before the first byte was read.
"""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from linnaeus.models.manifest import (
    CALIBRATION_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    Manifest,
    ManifestError,
    read_labels,
    read_manifest,
)
from linnaeus.models.model_format import MODEL_FILES, model_files_digest
from linnaeus.server.model_store.remote.bucket import Bucket
from linnaeus.server.model_store.remote.errors import BucketError, VersionIncomplete, VersionRefused
from linnaeus.server.model_store.remote.listing import RemoteFile, RemoteVersion

# A manifest has a number for each class, labels a line.
_MOST_TEXT_BYTES = 64 << 20
_TEXT_FILES = (MANIFEST_FILE, LABELS_FILE)


class VersionDownload:
    """The fetching of one version. Blocks; belongs to one thread.

    Args:
        bucket: has the version.
        version: the version, with its files.
        draft: the folder to write to.
        on_bytes: receives numbers of bytes that came.
    """

    def __init__(self, bucket: Bucket, version: RemoteVersion, draft: Path, on_bytes: Callable[[int], None]) -> None:
        self._bucket = bucket
        self._version = version
        self._draft = draft
        self._on_bytes = on_bytes

    @property
    def missing_bytes(self) -> int:
        """The bytes that are to be fetched, at most."""
        return sum((file.size or 0) - self._there(name) for name, file in self._version.files.items())

    def fetch(self) -> None:
        """Fetches and checks the version.

        Raises:
            VersionIncomplete: if files are not there yet, or changed meanwhile.
            VersionRefused: if the files do not fit together.
            BucketError: if the bucket cannot be read; what came is kept.
            OSError: if the folder cannot be written.
        """
        for name in _TEXT_FILES:
            self._fetch(name, _MOST_TEXT_BYTES)
        manifest = self._manifest()
        for name in _files_of(manifest):
            self._fetch(name)
        if self._bucket.look(self._version).stamp != self._version.stamp:
            raise VersionIncomplete("it changed while it was read")
        self._check(manifest)

    def _manifest(self) -> Manifest:
        try:
            manifest = read_manifest(self._draft)
            read_labels(self._draft, manifest.classes)
        except ManifestError as error:
            raise VersionRefused(str(error)) from None
        return manifest

    def _fetch(self, name: str, most_bytes: int | None = None) -> None:
        file = self._version.files.get(name)
        if file is None:
            raise VersionIncomplete(f"{name} is missing")
        if file.size is None:
            raise VersionRefused(f"{name} has no size that is known")
        if most_bytes is not None and file.size > most_bytes:
            raise VersionRefused(f"{name} has {file.size} bytes, but must have {most_bytes} at most")
        try:
            self._append(name, file, file.size)
        except BucketError as error:
            raise BucketError(f"{name}: {error}") from None

    def _append(self, name: str, file: RemoteFile, size: int) -> None:
        with (self._draft / name).open("ab") as target:
            if target.tell() > size:
                target.truncate(0)
            while (start := os.fstat(target.fileno()).st_size) < size:
                content = self._bucket.read_on(file, start)
                target.write(content)
                target.flush()
                self._on_bytes(len(content))

    def _check(self, manifest: Manifest) -> None:
        try:
            digest = model_files_digest(self._draft, manifest.model_format)
        except OSError as error:
            raise OSError(error.errno or errno.EIO, "what was fetched cannot be read") from None
        if digest != manifest.sha256:
            files = " and ".join(MODEL_FILES[manifest.model_format])
            raise VersionRefused(f"the digest of {files} is {digest}, but {MANIFEST_FILE} says {manifest.sha256}")
        if manifest.calibration:
            digest = hashlib.sha256((self._draft / CALIBRATION_FILE).read_bytes()).hexdigest()
            if digest != manifest.calibration.sha256:
                raise VersionRefused(f"{CALIBRATION_FILE} is not the one that {MANIFEST_FILE} means")

    def _there(self, name: str) -> int:
        try:
            return (self._draft / name).stat().st_size
        except FileNotFoundError:
            return 0


def _files_of(manifest: Manifest) -> tuple[str, ...]:
    """Returns the files that a manifest asks for, besides the text files."""
    calibration = (CALIBRATION_FILE,) if manifest.calibration else ()
    return (*MODEL_FILES[manifest.model_format], *calibration)
