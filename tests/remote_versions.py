"""Versions for tests of buckets: small files that fit together as a manifest says, without a network that computes."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from linnaeus.models.manifest import Check, InputSpec, Manifest, Weights, to_json

MANIFEST, LABELS, MODEL = "manifest.json", "labels.txt", "model.pt"


def version_files(name: str, version: int, content: bytes = b"a network", labels: str = "a\nb\n") -> dict[str, bytes]:
    """Returns the files of a version whose manifest has the digest of its model, the manifest last."""
    manifest = Manifest(
        name=name,
        version=version,
        architecture="none",
        task="image-classification",
        input=InputSpec(1, 28, 28, 28, "bilinear"),
        classes=2,
        weights=Weights("random", 1),
        parameters=1,
        sha256=hashlib.sha256(content).hexdigest(),
        torch_version="2",
        check=Check("seed", 1e-3, (0.5, 0.5)),
    )
    return {MODEL: content, LABELS: labels.encode(), MANIFEST: to_json(manifest).encode()}


class MemoryBucket(MemoryFileSystem):
    """fsspec's file system in memory, in which a test may do something before an object is read or listed."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.before_read: Any = lambda path, start: None
        self.before_find: Any = lambda: None
        self.read_bytes = 0

    def put(self, root: str, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            self.pipe_file(f"{root}/{name}", content)

    def find(self, path: str, *arguments: Any, **keywords: Any) -> Any:
        self.before_find()
        return super().find(path, *arguments, **keywords)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **keywords: Any) -> Any:
        self.before_read(path, start)
        content = super().cat_file(path, start=start, end=end, **keywords)
        self.read_bytes += len(content)
        return content


@contextmanager
def memory_bucket() -> Iterator[MemoryBucket]:
    """An empty bucket in memory; fsspec has one for the whole process."""
    bucket = MemoryBucket()
    bucket.store.clear()
    bucket.pseudo_dirs[:] = [""]
    yield bucket
    bucket.store.clear()
    bucket.pseudo_dirs[:] = [""]
