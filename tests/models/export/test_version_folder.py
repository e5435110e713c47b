"""A version folder is written atomically and never overwritten."""

from pathlib import Path
from typing import Any

import pytest

from linnaeus.models.export import version_folder
from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.export.version_folder import VersionContent, next_version, require_new_version, write_version
from linnaeus.models.manifest import read_labels, read_manifest
from linnaeus.models.registry import find


def test_an_export_has_all_files(repository: Path) -> None:
    for name in ("lenet", "efficientnet_lite0"):
        folder = repository / name / "1"
        assert sorted(path.name for path in folder.iterdir()) == ["labels.txt", "manifest.json", "model.pt"]
        manifest = read_manifest(folder)
        assert (manifest.name, manifest.version, manifest.weights.trained) == (name, 1, True)
        assert len(read_labels(folder, manifest.classes)) == manifest.classes


def test_a_failed_export_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(version_folder, "_fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        export_torchscript(find("lenet"), find("lenet").bundled_weights(), tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_never_overwritten(repository: Path) -> None:
    before = (repository / "lenet" / "1" / "model.pt").read_bytes()
    with pytest.raises(FileExistsError, match="versions never change"):
        export_torchscript(find("lenet"), find("lenet").bundled_weights(), repository, 1)
    assert (repository / "lenet" / "1" / "model.pt").read_bytes() == before
    assert next_version(repository, "lenet") == 2
    assert next_version(repository, "unknown") == 1


def test_a_folder_with_leading_zeros_is_the_same_version(tmp_path: Path) -> None:
    for name in ("0003", "９", "+8", "7 ", "9" * 30):
        (tmp_path / "m" / name).mkdir(parents=True)
    assert next_version(tmp_path, "m") == 4
    with pytest.raises(FileExistsError, match=r"0003 is there already"):
        require_new_version(tmp_path, "m", 3)


@pytest.mark.parametrize("label", ["", " ", "a\nb", "a\rb", "\x1b[2J", "a\0b"])
def test_labels_that_the_server_would_refuse_are_not_written(tmp_path: Path, label: str) -> None:
    nothing: Any = None
    content = VersionContent("m", "M", nothing, ("cat", label), nothing, nothing, ())
    with pytest.raises(ValueError, match=r"^labels.txt line 2 "):
        write_version(content, tmp_path / "repository", 1)
    assert not (tmp_path / "repository").exists()
