"""A version folder is written whole or not at all, and never overwritten."""

from pathlib import Path

import pytest

from linnaeus.models.export import version_folder
from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.export.version_folder import next_version
from linnaeus.models.manifest import read_labels, read_manifest
from linnaeus.models.registry import find


def test_an_export_is_whole(repository: Path) -> None:
    for name in ("lenet", "efficientnet_lite0"):
        folder = repository / name / "1"
        assert sorted(path.name for path in folder.iterdir()) == ["labels.txt", "manifest.json", "model.pt"]
        manifest = read_manifest(folder)
        assert (manifest.name, manifest.version, manifest.weights.trained) == (name, 1, True)
        assert len(read_labels(folder, manifest.classes)) == manifest.classes


def test_a_crash_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
