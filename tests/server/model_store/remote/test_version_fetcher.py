"""A version is fetched whole, or goes on where an attempt ended; what fails is said, and harms no other version."""

import errno
from pathlib import Path
from typing import Any

import pytest
from tests.remote_versions import LABELS, MODEL, MemoryBucket, version_files
from tests.server.model_store.remote.conftest import Copied

from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.model_store.remote import bucket as bucket_module
from linnaeus.server.model_store.remote import version_download as version_download_module


def test_a_version_whose_digest_is_wrong_never_appears_and_is_not_read_again_at_once(
    copied: Copied, caplog: pytest.LogCaptureFixture
) -> None:
    copied.push("m", 1)
    copied.put("m/1", {MODEL: b"another network"})
    assert copied.round() == {"m": []} and copied.statistics.failures == 1
    assert "m/1: it is refused: the digest of model.pt is" in caplog.text
    read = copied.memory.read_bytes
    copied.round()
    assert copied.memory.read_bytes == read
    copied.seconds += 10
    copied.round()
    assert copied.memory.read_bytes > read
    copied.push("m", 1)
    assert copied.round() == {"m": [1]}, "a corrected one is taken at once"


def test_a_version_that_changes_while_it_is_read_is_read_again_and_never_mixed(copied: Copied) -> None:
    copied.push("m", 1, b"old" * 1000, labels="old a\nold b\n")

    def replace(path: str, start: int | None) -> None:
        if path.endswith(LABELS):
            copied.memory.before_read = lambda path, start: None
            copied.push("m", 1, b"new" * 1000, labels="new a\nnew b\n")

    copied.memory.before_read = replace
    assert copied.round() == {"m": []} and copied.statistics.failures == 0
    assert copied.round() == {"m": [1]}
    assert copied.content("m", 1) == version_files("m", 1, b"new" * 1000, "new a\nnew b\n")


def test_labels_that_change_behind_the_manifest_are_not_taken_half(copied: Copied) -> None:
    copied.push("m", 1, labels="old a\nold b\n")

    def replace(path: str, start: int | None) -> None:
        if path.endswith(MODEL):  # when the labels have been read
            copied.put("m/1", {LABELS: b"new a\nnew b\n"})

    copied.memory.before_read = replace
    assert copied.round() == {"m": []}


def test_a_copied_version_that_changes_in_the_bucket_stays_and_that_is_said_once(
    copied: Copied, caplog: pytest.LogCaptureFixture
) -> None:
    copied.push("m", 1, b"old")
    copied.round()
    copied.push("m", 1, b"new")
    copied.round()
    copied.round()
    assert copied.content("m", 1)[MODEL] == b"old"
    assert caplog.text.count("it has changed in the bucket, which is not followed") == 1


def test_a_failed_fetch_is_resumed_where_it_ended_over_a_new_connection(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New credentials are read when it connects."""
    monkeypatch.setattr(bucket_module, "CHUNK_BYTES", 1000)
    content = bytes(range(256)) * 20
    copied.push("m", 1, content)
    reads: list[tuple[str, int | None]] = []

    def fail_later(path: str, start: int | None) -> None:
        reads.append((Path(path).name, start))
        if start == 3000:
            raise ConnectionResetError("reset by peer")

    copied.memory.before_read = fail_later
    assert copied.round() == {"m": []}
    reads.clear()
    copied.memory.before_read = lambda path, start: reads.append((Path(path).name, start))
    assert copied.round() == {"m": []}, "it is not tried again at once"
    copied.seconds += 1
    assert copied.round() == {"m": [1]}
    assert reads == [(MODEL, 3000), (MODEL, 4000), (MODEL, 5000)]
    assert copied.content("m", 1)[MODEL] == content
    assert copied.connections == 2


def test_a_read_that_ends_early_is_not_taken(copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    copied.push("m", 1, b"x" * 5000)
    whole = MemoryBucket.cat_file

    def cut(self: Any, path: str, **keywords: Any) -> Any:
        return whole(self, path, **keywords)[:-1]

    monkeypatch.setattr(MemoryBucket, "cat_file", cut)
    assert copied.round() == {"m": []}
    assert "it cannot be fetched: manifest.json: " in copied.synchronizer.reasons()["m/1"]


def test_a_draft_of_other_objects_is_not_gone_on_with(copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "CHUNK_BYTES", 1000)
    copied.push("m", 1, b"old" * 1000)

    def fail_later(path: str, start: int | None) -> None:
        if start == 2000:
            raise ConnectionResetError("reset by peer")

    copied.memory.before_read = fail_later
    copied.round()
    copied.memory.before_read = lambda path, start: None
    copied.push("m", 1, b"new" * 1000)
    assert copied.round() == {"m": [1]}
    assert copied.content("m", 1)[MODEL] == b"new" * 1000
    assert not list((copied.copy.root / "m").glob(".fetch-*"))


def test_the_budget_gives_up_what_nothing_wants_and_never_what_is_served(
    memory: MemoryBucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copied = Copied(memory, tmp_path / "copy", repository_bytes=25_000)
    copied.put("m", {"config.toml": b'versions = "latest"'})
    copied.push("m", 1, b"1" * 10_000)
    assert copied.round() == {"m": [1]}
    copied.push("m", 2, b"2" * 10_000)
    assert copied.round() == {"m": [1, 2]}, "it is kept while there is room"
    copied.states["m", 1] = ModelState.READY
    copied.states["m", 2] = ModelState.READY
    copied.push("m", 3, b"3" * 10_000)
    assert copied.round() == {"m": [1, 2]} and copied.statistics.failures == 1
    assert (
        "and --repository-bytes leaves" in caplog.text
        and "beside the versions that are served or wanted" in caplog.text
    )
    copied.states["m", 1] = ModelState.UNLOADED
    copied.seconds += 10
    assert copied.round() == {"m": [2, 3]}
    assert copied.copy.total_bytes() <= 25_000


def test_a_version_of_any_size_is_refused_before_a_byte_of_it_is_read(
    copied: Copied, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copied.push("m", 1)
    found = MemoryBucket.find

    def huge(self: Any, path: str, **keywords: Any) -> Any:
        return {name: each | {"size": 10**18} for name, each in found(self, path, **keywords).items()}

    monkeypatch.setattr(MemoryBucket, "find", huge)
    assert copied.round() == {"m": []}
    assert copied.memory.read_bytes == 0 and "it needs 3000000000000000000 bytes, and the disk has" in caplog.text


def test_a_full_disk_is_said_and_what_came_is_kept(
    copied: Copied, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copied.push("m", 1)
    real = version_download_module.VersionDownload.fetch

    def full(self: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(version_download_module.VersionDownload, "fetch", full)
    assert copied.round() == {"m": []}
    assert "m/1: its copy cannot be written: no space left on device; make room" in caplog.text
    monkeypatch.setattr(version_download_module.VersionDownload, "fetch", real)
    copied.seconds += 2
    assert copied.round() == {"m": [1]}
