"""A version folder is served only if every check of its contract holds; the reason names file and field."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import numpy
import pytest
import torch

from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime import model_formats
from linnaeus.server.runtime.artifact_checks import read_artifact
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import LoadOptions, load_model

CPU = torch.device("cpu")


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    """A copy of lenet/1 that the test may change."""
    return Path(shutil.copytree(repository / "lenet" / "1", tmp_path / "lenet" / "1"))


def change_manifest(folder: Path, **fields: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def load(folder: Path) -> Model:
    return load_model(folder, CPU, 2, options=LoadOptions(runtime="torchscript"))


def test_a_valid_folder_loads(folder: Path) -> None:
    assert len(load(folder).run([numpy.zeros((28, 28, 1), numpy.uint8)] * 2, 10)[1].indices) == 10


def test_a_corrupt_model_file_is_refused_by_its_digest(folder: Path) -> None:
    data = bytearray((folder / "model.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.pt").write_bytes(data)
    with pytest.raises(ModelRefused, match=r"manifest.json: sha256 .* model.pt"):
        load(folder)


def test_a_model_file_that_is_not_torchscript_is_refused_even_with_a_matching_digest(folder: Path) -> None:
    (folder / "model.pt").write_bytes(b"not a model")
    change_manifest(folder, sha256=sha256(b"not a model").hexdigest())
    with pytest.raises(ModelRefused, match=r"^model.pt cannot be loaded"):
        load(folder)


def test_a_model_that_does_not_reproduce_the_recorded_check_is_refused(folder: Path) -> None:
    check = json.loads((folder / "manifest.json").read_text())["check"]
    check["probabilities"] = check["probabilities"][::-1]
    change_manifest(folder, check=check)
    with pytest.raises(ModelRefused, match=r"model.pt differs .* check.probabilities"):
        load(folder)


def test_a_model_with_another_class_count_is_refused(folder: Path) -> None:
    check = json.loads((folder / "manifest.json").read_text())["check"]
    check["probabilities"] = [*check["probabilities"], 0.0]
    (folder / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(11)))
    change_manifest(folder, classes=11, check=check)
    with pytest.raises(ModelRefused, match=r"model.pt gives .*\[1, 10\].*must give.*\[1, 11\]"):
        load(folder)


@pytest.mark.parametrize("name", ["model.pt", "manifest.json", "labels.txt"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelRefused, match=f"^{name} is missing$"):
        read_artifact(folder)


def test_labels_one_line_short_are_refused(folder: Path) -> None:
    labels = (folder / "labels.txt").read_text().splitlines(keepends=True)
    (folder / "labels.txt").write_text("".join(labels[:-1]))
    with pytest.raises(ModelRefused, match=r"labels.txt has 9 lines, but manifest.json says classes is 10"):
        read_artifact(folder)


def test_a_folder_whose_name_or_version_differs_from_the_manifest_is_refused(folder: Path) -> None:
    moved = folder.parent.with_name("other") / "1"
    shutil.copytree(folder, moved)
    with pytest.raises(ModelRefused, match=r"manifest.json: name is 'lenet', but the folder is 'other'"):
        read_artifact(moved)
    with pytest.raises(ModelRefused, match=r"manifest.json: version is 1, but the folder is '2'"):
        read_artifact(folder.rename(folder.with_name("2")))


def as_format(folder: Path, model_format: str, **files: bytes) -> None:
    """Replaces the TorchScript by files of another format, such as `onnx` for model.onnx."""
    (folder / "model.pt").unlink()
    for suffix, content in files.items():
        (folder / f"model.{suffix}").write_bytes(content)
    change_manifest(folder, model_format=model_format, sha256=sha256(b"".join(files.values())).hexdigest())


def test_a_format_that_no_installed_runtime_opens_is_refused_with_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_format(folder, "onnx", onnx=b"a graph")
    monkeypatch.setattr(model_formats, "find_spec", lambda _: None)
    with pytest.raises(ModelRefused, match=r"^model.onnx needs onnxruntime or openvino.*linnaeus\[onnx\]"):
        read_artifact(folder)


def test_either_file_of_openvino_is_covered_by_the_digest(folder: Path) -> None:
    as_format(folder, "openvino", xml=b"<net/>", bin=b"weights")
    assert read_artifact(folder).manifest.model_file == "model.xml"
    (folder / "model.bin").write_bytes(b"half")
    with pytest.raises(ModelRefused, match=r"sha256 .*, but model.xml and model.bin have another; wait"):
        read_artifact(folder)
    (folder / "model.bin").unlink()
    with pytest.raises(ModelRefused, match=r"^model.bin is missing$"):
        read_artifact(folder)
