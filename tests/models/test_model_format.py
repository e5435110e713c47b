"""Each format's files are named in one place; the digest covers all of them."""

import hashlib
from pathlib import Path

import pytest

from linnaeus.models.model_format import ALL_MODEL_FILES, MODEL_FILES, model_files_digest


@pytest.mark.parametrize(("model_format", "name"), [("torchscript", "model.pt"), ("onnx", "model.onnx")])
def test_the_digest_of_a_single_file_is_that_of_the_file(tmp_path: Path, model_format: str, name: str) -> None:
    (tmp_path / name).write_bytes(b"weights")
    assert model_files_digest(tmp_path, model_format) == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_a_change_in_either_file_of_openvino_changes_the_digest(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.xml").write_bytes(b"<net/>")
    (tmp_path / "model.bin").write_bytes(b"weights")
    before = model_files_digest(tmp_path, "openvino")
    (tmp_path / name).write_bytes(b"other")
    assert model_files_digest(tmp_path, "openvino") != before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(b"<net/>")
    with pytest.raises(FileNotFoundError) as raised:
        model_files_digest(tmp_path, "openvino")
    assert Path(raised.value.filename).name == "model.bin"


def test_no_two_formats_share_a_file() -> None:
    assert len(ALL_MODEL_FILES) == sum(map(len, MODEL_FILES.values()))
