"""Calibration images are stored in the version folder, where the server reads them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from torch import nn

from linnaeus.models.export.calibration_images import MAX_IMAGES, read_calibration_images
from linnaeus.models.export.torchscript_import import ModelMetadata, import_torchscript
from linnaeus.models.manifest import InputSpec, read_manifest
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.runtime.artifact_checks import read_artifact
from linnaeus.server.runtime.calibration_images import recorded_pictures

ROOT = Path(__file__).resolve().parents[3]
DIGITS = ROOT / "pictures" / "digits"
SPEC = InputSpec(channels=3, height=4, width=6, resize=8, interpolation="bilinear")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of twenty images of different gray, a text file and a folder."""
    made = tmp_path / "pictures"
    made.mkdir()
    for number in range(20):
        Image.new("L", (9, 9), 10 * number).save(made / f"{number:02}.{'PNG' if number % 2 else 'bmp'}")
    (made / "00.txt").write_text("what these are")
    (made / "more").mkdir()
    return made


def test_the_first_16_images_by_name_are_prepared_for_the_model(folder: Path) -> None:
    pixels = numpy.frombuffer(read_calibration_images(folder, SPEC), numpy.uint8).reshape(-1, 4, 6, 3)
    assert len(pixels) == MAX_IMAGES == 16
    assert [numpy.unique(each).tolist() for each in pixels] == [[10 * number] for number in range(16)]


def test_a_folder_without_images_and_a_broken_image_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^--calibration: there are no pictures in .*more \(.bmp, "):
        read_calibration_images(folder / "more", SPEC)
    with pytest.raises(FileNotFoundError):
        read_calibration_images(folder / "nowhere", SPEC)
    (folder / "03.PNG").write_text("no picture")
    with pytest.raises(OSError, match=r"03\.PNG"):
        read_calibration_images(folder, SPEC)


def test_the_server_reads_the_exported_calibration_images(tmp_path: Path, run_zoo: Callable[..., Any]) -> None:
    done = run_zoo("export", "lenet", "--calibration", str(DIGITS), "--repository", str(tmp_path))
    assert done.exit_code == 0, done.errors
    artifact = read_artifact(tmp_path / "lenet" / "1")
    seen = [
        decode(EncodedImage(path.read_bytes()), artifact.manifest.input, 10**6) for path in sorted(DIGITS.iterdir())
    ]
    assert len(seen) == 6 and numpy.array_equal(recorded_pictures(artifact), seen)


def test_without_the_option_there_are_no_calibration_images(tmp_path: Path, run_zoo: Callable[..., Any]) -> None:
    run_zoo("export", "lenet", "--repository", str(tmp_path))
    version = tmp_path / "lenet" / "1"
    assert sorted(path.name for path in version.iterdir()) == ["labels.txt", "manifest.json", "model.pt"]
    assert "calibration" not in (version / "manifest.json").read_text()


def test_failing_calibration_images_leave_no_files(tmp_path: Path, run_zoo: Callable[..., Any]) -> None:
    given = ("export", "lenet", "--repository", str(tmp_path / "models"), "--calibration")
    failed = run_zoo(*given, str(tmp_path))
    assert (failed.exit_code, failed.errors.count("\n")) == (1, 1) and "there are no pictures in" in failed.errors
    failed = run_zoo(*given, str(DIGITS), "--format", "onnx")
    assert failed.exit_code == 1 and "leave it out with --format onnx" in failed.errors
    assert not (tmp_path / "models").exists()


def test_an_imported_model_contains_the_users_calibration_images(tmp_path: Path, folder: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(32, 2))
    torch.jit.script(network).save(str(tmp_path / "model.pt"))
    own = ModelMetadata("mine", SPEC, (0.5,) * 3, (0.2,) * 3, ("a", "b"), calibration=folder)
    version = import_torchscript(tmp_path / "model.pt", own, tmp_path / "models", 1)
    artifact = read_artifact(version)
    assert [int(each[0, 0, 0]) for each in recorded_pictures(artifact)] == [10 * number for number in range(16)]
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        import_torchscript(tmp_path / "model.pt", own, tmp_path / "models", 2)
    assert read_manifest(version).calibration is not None and not (tmp_path / "models" / "mine" / "2").exists()
