"""A bucket is copied whole versions at a time; nothing that it does harms what is served."""

import itertools
import logging
from pathlib import Path

import pytest
from tests.remote_versions import LABELS, MANIFEST, MODEL, version_files
from tests.server.model_store.remote.conftest import Copied

from linnaeus.server.model_store.catalog import ModelState
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


def test_an_older_version_takes_the_place_of_one_that_is_refused_or_incomplete(copied: Copied) -> None:
    copied.put("m", {"config.toml": b'versions = "latest"'})
    for version in (1, 2, 3, 4):
        copied.push("m", version)
    copied.put("m/4", {MODEL: b"another"})
    copied.memory.rm(f"/models/m/3/{LABELS}")
    assert copied.round() == {"m": [2]}
    copied.states["m", 2] = ModelState.FAILED  # as when it cannot be loaded
    assert copied.round() == {"m": [1, 2]}


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
