"""A repository in a bucket in memory, and its copy in a folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.remote_versions import MemoryBucket, memory_bucket, version_files

from linnaeus.server.config.repository_url import RepositoryUrl, repository_url
from linnaeus.server.config.settings import Settings
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.model_store.model_folders import list_model_folders
from linnaeus.server.model_store.remote.bucket import Bucket
from linnaeus.server.model_store.remote.local_copy import LocalCopy
from linnaeus.server.model_store.remote.synchronizer import Synchronizer
from linnaeus.server.model_store.repository_statistics import RepositoryStatistics

URL = "s3://bucket/models"


class Copied:
    """A bucket in memory at `/models`, and what copies it to a folder."""

    def __init__(self, memory: MemoryBucket, folder: Path, **settings: Any) -> None:
        found = repository_url(URL)
        assert found is not None
        self.memory = memory
        self.seconds = 0.0
        self.states: dict[tuple[str, int], ModelState] = {}
        self.connections = 0
        self.statistics = RepositoryStatistics()
        self.copy = LocalCopy(folder, found)
        self.copy.open()
        self.synchronizer = Synchronizer(
            Settings(repository=URL, **settings),
            found,
            self.copy,
            self._connect,
            lambda: self.states,
            self.statistics,
            lambda: self.seconds,
        )

    def _connect(self, url: RepositoryUrl) -> Bucket:
        self.connections += 1
        return Bucket(url, self.memory, "/models")

    def push(self, model: str, version: int, content: bytes = b"a network", **files: Any) -> None:
        self.put(f"{model}/{version}", version_files(model, version, content, **files))

    def put(self, folder: str, files: Mapping[str, bytes]) -> None:
        self.memory.put(f"/models/{folder}", files)

    def remove(self, folder: str) -> None:
        self.memory.rm(f"/models/{folder}", recursive=True)

    def round(self, *models: str) -> dict[str, list[int]]:
        """Copies once; returns the versions that the server then sees."""
        assert self.synchronizer.synchronize(frozenset(models))
        return self.seen()

    def seen(self) -> dict[str, list[int]]:
        return {name: list(folder.versions) for name, folder in list_model_folders(self.copy.root).items()}

    def content(self, model: str, version: int) -> dict[str, bytes]:
        folder = self.copy.root / model / str(version)
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


@pytest.fixture
def memory() -> Iterator[MemoryBucket]:
    with memory_bucket() as bucket:
        yield bucket


@pytest.fixture
def copied(memory: MemoryBucket, tmp_path: Path) -> Copied:
    return Copied(memory, tmp_path / "copy")
