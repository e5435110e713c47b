"""A model file is recognized by its content, says what to do, and is never unpickled."""

import builtins
import importlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.models.own_model.tiny_networks import EXAMPLE, Tiny, frozen, scripted, traced

from linnaeus.models.own_model.file_kind import FileKind, identify


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def export(path: Path, batches: bool) -> None:
    network, two = Tiny().eval(), EXAMPLE.expand(2, -1, -1, -1).contiguous()
    shapes = ({0: torch.export.Dim("batch")},) if batches else None
    torch.export.save(torch.export.export(network, (two,), dynamic_shapes=shapes), path)


def to_onnx(path: Path) -> None:
    pytest.importorskip("onnx")
    axes = {"pictures": {0: "batch"}}
    names = {"input_names": ["pictures"], "output_names": ["logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated, but takes a tenth of the time
        torch.onnx.export(Tiny().eval(), (EXAMPLE,), str(path), dynamo=False, dynamic_axes=axes, **names)


STATE = Tiny().state_dict()
WRITE: dict[str, tuple[Callable[[Path], object], FileKind, str]] = {
    "traced": (lambda path: traced(Tiny()).save(str(path)), FileKind.TORCHSCRIPT, "TorchScript"),
    "scripted": (lambda path: scripted(Tiny()).save(str(path)), FileKind.TORCHSCRIPT, "TorchScript"),
    "frozen": (lambda path: frozen(Tiny()).save(str(path)), FileKind.TORCHSCRIPT, "TorchScript"),
    "state dict": (lambda path: torch.save(STATE, path), FileKind.STATE_DICT, "without a network: 9 tensors"),
    "checkpoint": (
        lambda path: torch.save({"epoch": 3, "model_state_dict": STATE, "rate": 0.1}, path),
        FileKind.STATE_DICT,
        "without a network: 9 tensors",
    ),
    "state dict of torch 1.5": (
        lambda path: torch.save(STATE, path, _use_new_zipfile_serialization=False),
        FileKind.STATE_DICT,
        "without a network: 9 tensors",
    ),
    "module": (lambda path: torch.save(Tiny(), path), FileKind.PICKLED_MODULE, "tiny_networks.Tiny"),
    "module of torch 1.5": (
        lambda path: torch.save(Tiny(), path, _use_new_zipfile_serialization=False),
        FileKind.PICKLED_MODULE,
        "tiny_networks.Tiny",
    ),
    "checkpoint with objects": (
        lambda path: torch.save({"state_dict": STATE, "folder": Path("x")}, path),
        FileKind.PICKLED_MODULE,
        "a checkpoint that holds pickled objects beside its weights: pathlib",
    ),
    "pickle": (
        lambda path: path.write_bytes(pickle.dumps({"a": Path("x")})),
        FileKind.PICKLED_MODULE,
        "a checkpoint that holds pickled objects",
    ),
    "safetensors": (lambda path: save_file(STATE, path), FileKind.SAFETENSORS, "without a network: 9 tensors"),
    "export": (lambda path: export(path, False), FileKind.TORCH_EXPORT, "takes images [2, 3, 8, 8]"),
    "export for batches": (lambda path: export(path, True), FileKind.TORCH_EXPORT, "takes images [any, 3, 8, 8]"),
    "onnx": (to_onnx, FileKind.ONNX, "takes pictures, float [batch, 3, 8, 8]; gives logits, float [batch, 3]"),
}


@pytest.mark.parametrize("name", WRITE)
def test_a_file_is_recognized_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    write, kind, words = WRITE[name]
    path = tmp_path / "model.bin"
    write(path)
    identity = identify(path)
    assert identity.kind is kind and words in identity.description
    assert (kind in (FileKind.TORCHSCRIPT, FileKind.ONNX)) == (not identity.advice) and "\n" not in identity.advice


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_nothing_is_ever_unpickled(tmp_path: Path, new_format: bool, inside: bool) -> None:
    path, touched = tmp_path / "bomb.pt", tmp_path / "touched"
    bomb = Bomb(touched)
    content = {"state_dict": STATE, "more": bomb} if inside else bomb
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    identity = identify(path)
    assert identity.kind is FileKind.PICKLED_MODULE and "run code of whoever wrote it" in identity.advice
    assert not touched.exists()
    torch.load(path, weights_only=False)
    assert touched.exists(), "the test could not detect an unpickled file"


CONTENTS = {
    "empty": (b"", "an empty file", "copy it again"),
    "page": (b"<!DOCTYPE html><html>404", "a web page", "download it again"),
    "text": (b"hello\n", "text", "trace it"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS", "git lfs pull"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(9), "HDF5", "TorchScript and ONNX only"),
    "lite": (b"\x1c\0\0\0TFL3" + bytes(9), "TensorFlow Lite", "TorchScript and ONNX only"),
    "numpy": (b"\x93NUMPY\x01\0", "NumPy array", "TorchScript and ONNX only"),
    "gzip": (b"\x1f\x8b\x08" + bytes(9), "a gzip archive", "unpack it"),
    "cut": (b"PK\x03\x04" + bytes(90), "cut short", "download it again"),
    "pickle": (b"\x80\x02}q\x00X", "damaged or cut short", "loading it would run code"),
    "png": (b"\x89PNG\r\n\x1a\n", "a picture", "name the model file"),
    "bytes": (b"\x07\x01\x02" * 9, "no format that is known here", "trace it"),
    "safetensors": ((2).to_bytes(8, "little") + b"{]", "safetensors file whose header is damaged", "trace it"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_model_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    content, description, advice = CONTENTS[name]
    (tmp_path / "model.pt").write_bytes(content)
    identity = identify(tmp_path / "model.pt")
    assert description in identity.description and advice in identity.advice


def test_a_folder_is_recognized_by_its_files(tmp_path: Path) -> None:
    assert "name the model file in it" in identify(tmp_path).advice
    for name, words in (("config.json", "config.json"), ("saved_model.pb", "SavedModel")):
        (tmp_path / name).touch()
        assert words in identify(tmp_path).description
    for name in ("model.pt", "manifest.json"):
        (tmp_path / name).touch()
    assert identify(tmp_path).description == "a version folder of a model repository"


def test_onnx_is_recognized_without_the_package_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # ir_version 9, producer_name "pytorch": how torch's exporter begins a file
    (tmp_path / "model.onnx").write_bytes(b"\x08\x09\x12\x07pytorch")
    imported = importlib.import_module

    def without_onnx(name: str, package: str | None = None) -> Any:
        if name == "onnx":
            raise ImportError(name)
        return imported(name, package)

    monkeypatch.setattr(importlib, "import_module", without_onnx)
    assert identify(tmp_path / "model.onnx").description == "ONNX"


def test_an_exported_program_of_another_release_is_recognized_by_its_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", json.dumps({"graph_module": {}}))
    identity = identify(tmp_path / "old.pt2")
    assert identity.kind is FileKind.TORCH_EXPORT and identity.description == "an exported program (torch.export)"


def test_recognizing_a_file_never_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(Tiny(), tmp_path / "module.pt")

    def forbidden(*_: object, **__: object) -> object:
        raise AssertionError("the file was loaded")

    for module, name in (
        (torch, "load"),
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (builtins, "exec"),
    ):
        monkeypatch.setattr(module, name, forbidden)
    assert identify(tmp_path / "module.pt").kind is FileKind.PICKLED_MODULE
