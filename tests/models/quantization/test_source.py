"""The version that is quantized is the newest in float32, or the one that is named."""

import dataclasses
import json
from pathlib import Path

import pytest
from tests.repositories import add_version

from linnaeus.models.manifest import Quantization
from linnaeus.models.quantization.source import find_source


@pytest.fixture
def versions(repository: Path, tmp_path: Path) -> Path:
    """A repository with versions 2 and 10 in float32 and 11 in int8."""
    for version in (2, 10, 11):
        folder = add_version(repository / "lenet" / "1", tmp_path, "lenet", version)
    made = Quantization("int8", 10, "ab" * 32, 300, 10_000, 0.99, (0.98, 0.995))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"quantization": dataclasses.asdict(made)}))
    (tmp_path / "lenet" / "config.toml").touch()
    return tmp_path


def test_the_newest_version_in_float32_is_taken(versions: Path) -> None:
    source = find_source(versions, "lenet")
    assert source.manifest.version == 10 and source.labels == tuple("0123456789")


def test_a_version_can_be_named(versions: Path) -> None:
    assert find_source(versions, "lenet:2").manifest.version == 2
    with pytest.raises(ValueError, match=r"has no version 3 of 'lenet', but 2, 10, 11"):
        find_source(versions, "lenet:3")
    with pytest.raises(ValueError, match=r"11 is int8 already"):
        find_source(versions, "lenet:11")


def test_a_model_of_quantized_versions_only_is_refused(versions: Path) -> None:
    for version in ("2", "10"):
        (versions / "lenet" / version).rename(versions / f"away-{version}")
    with pytest.raises(ValueError, match="all versions of 'lenet' are quantized already"):
        find_source(versions, "lenet")


def test_what_is_wrong_with_the_version_is_named_with_its_folder(versions: Path) -> None:
    (versions / "lenet" / "2" / "labels.txt").write_text("one\n")
    with pytest.raises(ValueError, match=r"lenet/2: labels.txt has 1 lines"):
        find_source(versions, "lenet:2")
