"""A bucket is copied whole versions at a time; nothing that it does harms what is served."""

import errno
import itertools
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.remote_versions import LABELS, MANIFEST, MODEL, MemoryBucket, version_files
from tests.server.model_store.remote.conftest import Copied

from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.model_store.remote import bucket as bucket_module
from linnaeus.server.model_store.remote import synchronizer as synchronizer_module
from linnaeus.server.model_store.remote.errors import BucketError


def test_what_is_wanted_is_copied_and_what_is_not_is_left(copied: Copied) -> None:
    copied.push("m", 1, b"one")
    copied.push("m", 2, b"two")
    copied.push("n", 7)
    copied.put("m", {"config.toml": b'versions = "latest"', "README.md": b"hello"})
    copied.put("m/2", {"notes.txt": b"notes", "model.pt.part": b"half"})
    assert copied.round() == {"m": [2], "n": [7]}
    assert copied.content("m", 2) == version_files("m", 2, b"two")
    assert (copied.copy.root / "m" / "config.toml").read_bytes() == b'versions = "latest"'
    assert copied.statistics.versions == 2 and copied.statistics.failures == 0 and copied.statistics.succeeded_at > 0
    assert copied.statistics.copy_bytes == copied.copy.total_bytes() > 0


def test_nothing_is_read_again_that_was_copied(copied: Copied) -> None:
    copied.push("m", 1)
    copied.round()
    read = copied.memory.read_bytes
    assert copied.round() == {"m": [1]}
    assert copied.memory.read_bytes == read


def test_without_a_config_all_versions_are_copied_as_all_are_served(copied: Copied) -> None:
    copied.push("m", 1)
    copied.push("m", 2)
    assert copied.round() == {"m": [1, 2]}


def test_only_the_models_that_are_named_are_copied(copied: Copied) -> None:
    copied.push("m", 1)
    copied.push("n", 1)
    assert copied.round("n") == {"n": [1]}


@pytest.mark.parametrize("order", list(itertools.permutations((MODEL, LABELS, MANIFEST))))
def test_a_version_appears_once_its_last_object_is_there_whatever_the_order(
    copied: Copied, order: tuple[str, ...]
) -> None:
    files = version_files("m", 1)
    for name in order:
        assert not copied.seen().get("m")
        copied.put("m/1", {name: files[name]})
        copied.round()
    assert copied.seen() == {"m": [1]} and copied.statistics.failures == 0


def test_the_config_is_followed(copied: Copied) -> None:
    copied.push("m", 1)
    assert copied.round() == {"m": [1]}
    config = copied.copy.root / "m" / "config.toml"
    copied.put("m", {"config.toml": b"max_batch_size = 3"})
    copied.round()
    assert config.read_bytes() == b"max_batch_size = 3"
    copied.memory.rm("/models/m/config.toml")
    copied.round()
    assert not config.exists()


def test_a_config_that_is_wrong_or_too_large_is_said_and_costs_no_other_model(
    copied: Copied, caplog: pytest.LogCaptureFixture
) -> None:
    copied.push("m", 1)
    copied.put("m", {"config.toml": b"versions = 0"})
    copied.push("n", 1)
    copied.put("n", {"config.toml": b"#" * ((1 << 20) + 1)})
    copied.push("o", 1)
    assert copied.round() == {"m": [], "n": [], "o": [1]}
    assert "m/config.toml: config.toml: versions is 0, but must be" in caplog.text
    assert "n/config.toml: has 1048577 bytes, but must have 1048576 bytes at most" in caplog.text


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


def test_an_older_version_takes_the_place_of_one_that_is_refused_or_incomplete(copied: Copied) -> None:
    copied.put("m", {"config.toml": b'versions = "latest"'})
    for version in (1, 2, 3, 4):
        copied.push("m", version)
    copied.put("m/4", {MODEL: b"another"})
    copied.memory.rm(f"/models/m/3/{LABELS}")
    assert copied.round() == {"m": [2]}
    copied.states["m", 2] = ModelState.FAILED  # as when it cannot be loaded
    assert copied.round() == {"m": [1, 2]}


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


def test_a_version_that_is_gone_from_two_listings_is_removed(copied: Copied) -> None:
    copied.push("m", 1)
    copied.push("m", 2)
    copied.round()
    copied.remove("m/1")
    assert copied.round() == {"m": [1, 2]}, "one listing that lacks it may be late"
    copied.push("m", 1)
    assert copied.round() == {"m": [1, 2]}
    copied.remove("m/1")
    copied.round()
    assert copied.round() == {"m": [2]}
    copied.push("m", 1)
    assert copied.round() == {"m": [1, 2]}


def test_a_bucket_that_is_suddenly_empty_changes_nothing_and_says_so_once(
    copied: Copied, caplog: pytest.LogCaptureFixture
) -> None:
    copied.push("m", 1)
    copied.round()
    copied.remove("m")
    for _ in range(3):
        with pytest.raises(BucketError):
            copied.round()
    assert copied.seen() == {"m": [1]}
    assert caplog.text.count("it suddenly has none of the 1 versions that were copied; they are kept") == 1


def test_a_bucket_that_cannot_be_listed_changes_nothing_and_is_connected_to_anew(
    copied: Copied, caplog: pytest.LogCaptureFixture
) -> None:
    copied.push("m", 1)
    copied.round()

    def fail() -> None:
        raise PermissionError("The provided token has expired: https://user:pw@host/x?X-Amz-Signature=abc")

    copied.memory.before_find = fail
    for _ in range(2):
        with pytest.raises(BucketError):
            copied.round()
    assert copied.seen() == {"m": [1]} and copied.statistics.failures == 2
    said = (
        "the listing: it cannot be read, what is served stays as it is: The provided token has expired: https://host/x"
    )
    assert caplog.text.count(said) == 1
    assert "pw@" not in caplog.text and "abc" not in caplog.text
    copied.memory.before_find = lambda: None
    connections = copied.connections
    with caplog.at_level(logging.INFO):
        copied.round()
    assert copied.connections == connections + 1 and "the listing: it is well again" in caplog.text


def test_a_failed_fetch_is_resumed_where_it_ended(copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
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
    real = synchronizer_module.VersionDownload.fetch

    def full(self: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(synchronizer_module.VersionDownload, "fetch", full)
    assert copied.round() == {"m": []}
    assert "m/1: its copy cannot be written: no space left on device; make room" in caplog.text
    monkeypatch.setattr(synchronizer_module.VersionDownload, "fetch", real)
    copied.seconds += 2
    assert copied.round() == {"m": [1]}


@pytest.mark.parametrize("name", ["../../evil/1", "/etc/1", "m/../../1", "m\0/1", f"{'m' * 300}/1", "M!/1", "m/+1"])
def test_no_name_of_an_object_leads_out_of_the_copy(copied: Copied, tmp_path: Path, name: str) -> None:
    copied.push("good", 1)
    for file, content in version_files("m", 1).items():
        copied.memory.store[f"/models/{name}/{file}"] = type(copied.memory.store[f"/models/good/1/{MODEL}"])(
            copied.memory, f"/models/{name}/{file}", content
        )
    seen = copied.round()
    assert seen.pop("good") == [1] and not any(seen.values())
    assert {path.name for path in tmp_path.iterdir()} == {"copy"}
    assert {path.name for path in copied.copy.root.iterdir()} - {"m"} == {".copy.json", ".lock", "good"}


def test_a_copy_that_another_process_writes_is_left_to_it(copied: Copied) -> None:
    copied.push("m", 1)
    with copied.copy.writing() as mine:
        assert mine and not copied.synchronizer.synchronize() and not copied.seen()
    assert copied.round() == {"m": [1]}
