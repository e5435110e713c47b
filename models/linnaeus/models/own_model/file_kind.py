"""Recognizes what a model file is, by its content, never by its name, and says what to do with it.

It reads headers, the table of a zip archive, and pickles by `pickletools`; no file is loaded, none is unpickled.
"""

import zipfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from linnaeus.models.model_format import ALL_MODEL_FILES
from linnaeus.models.own_model import exported_program, onnx_file, pickled_file, safetensors_file

_HEAD_BYTES = 4096
_TRACE = "build the network in Python, call .eval() and trace it (docs/bring-your-own-model.md shows how)"


class FileKind(StrEnum):
    """What a file is, as far as it matters for what to do next."""

    TORCHSCRIPT = "TorchScript"
    TORCH_EXPORT = "an exported program (torch.export)"
    ONNX = "ONNX"
    STATE_DICT = "a state dict"
    PICKLED_MODULE = "a pickled object"
    SAFETENSORS = "safetensors"
    OTHER = "something else"


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What a file is.

    Attributes:
        kind: what it is.
        description: the same in words that complete "it is …", with what can be told without loading it.
        advice: what to do with it; empty for TorchScript and ONNX, which can be imported.
    """

    kind: FileKind
    description: str
    advice: str = ""


# Other formats by how the file begins: the offset, the bytes, and what the file is.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras writes"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ET12", "an ExecuTorch program"),
    (0, b"GGUF", "a GGUF file, such as llama.cpp reads"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PK\x03\x04", "a zip archive, as PyTorch's models are, but cut short"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ", "an xz archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x89PNG", "a picture (PNG)"),
    (0, b"\xff\xd8\xff", "a picture (JPEG)"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, in place of the file"),
)
_MARKUP = (b"<!doctype html", b"<html")


def identify(path: Path) -> FileIdentity:
    """Recognizes a file or folder.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if it cannot be read.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return FileIdentity(FileKind.OTHER, "an empty file", "copy it again: nothing of it arrived")
    if zipfile.is_zipfile(path):
        return _archive(path)
    return _single_file(path, head)


def _folder(path: Path) -> FileIdentity:
    def has(name: str) -> bool:
        return (path / name).exists()

    if has("manifest.json") and any(map(has, ALL_MODEL_FILES)):
        advice = "copy it to <repository>/<name>/<version>; it needs no import"
        return FileIdentity(FileKind.OTHER, "a version folder of a model repository", advice)
    if has("saved_model.pb"):
        return FileIdentity(FileKind.OTHER, "a folder with a TensorFlow SavedModel", _not_pytorch())
    if has("config.json"):
        advice = f"load the network in Python with the library that wrote it, then {_TRACE}"
        return FileIdentity(FileKind.OTHER, "a folder with a config.json, such as transformers and timm write", advice)
    return FileIdentity(FileKind.OTHER, "a folder", "name the model file in it")


def _archive(path: Path) -> FileIdentity:
    """Recognizes what torch and others write as zip archives."""
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] or name for name in archive.namelist()]
        if "constants.pkl" in names and any(name.startswith("code/") for name in names):
            return FileIdentity(FileKind.TORCHSCRIPT, "TorchScript")
        if not set(exported_program.PROGRAM_NAMES).isdisjoint(names) or "archive_format" in names:
            return FileIdentity(FileKind.TORCH_EXPORT, *exported_program.describe(archive))
        if "data.pkl" in names:
            return _pickled(pickled_file.read_archive(archive), path)
    if "metadata.json" in names and "config.json" in names:
        return FileIdentity(FileKind.OTHER, "a Keras model", _not_pytorch())
    if names and all(name.endswith(".npy") for name in names):
        return FileIdentity(FileKind.OTHER, "arrays of NumPy", _weights_only())
    return FileIdentity(FileKind.OTHER, "a zip archive, but not of PyTorch", "unpack it, and check what is in it")


def _single_file(path: Path, head: bytes) -> FileIdentity:
    if (legacy := pickled_file.read_single(path, head)) is not None:
        return _pickled(legacy, path)
    if (tensors := safetensors_file.describe(path, head)) is not None:
        return FileIdentity(FileKind.SAFETENSORS, tensors, _weights_only())
    if onnx_file.is_onnx(head):
        return FileIdentity(FileKind.ONNX, onnx_file.describe(path))
    for offset, signature, what in _SIGNATURES:
        if head.startswith(signature, offset):
            return FileIdentity(FileKind.OTHER, what, _advice_for(what))
    if head.lstrip().lower().startswith(_MARKUP):
        advice = "download it again: the server sent a page instead of the file"
        return FileIdentity(FileKind.OTHER, "a web page", advice)
    what = "text" if _is_text(head) else "in no format that is known here, or damaged"
    return FileIdentity(FileKind.OTHER, what, f"name the model file; if this is one, {_TRACE}")


def _pickled(content: pickled_file.PickledFile, path: Path) -> FileIdentity:
    if content.is_weights:
        return FileIdentity(FileKind.STATE_DICT, content.description, _weights_only())
    advice = (
        "loading it would run code of whoever wrote it, so it was not loaded; if you trust it, load it in Python with "
        f'torch.load("{path.name}", weights_only=False), then call .eval() and trace it '
        "(docs/bring-your-own-model.md shows how)"
    )
    return FileIdentity(FileKind.PICKLED_MODULE, content.description, advice)


def _weights_only() -> str:
    return (
        f"it holds numbers without the network: {_TRACE}; for a network of the zoo say "
        "`linnaeus-zoo export NAME --weights FILE --labels LABELS` instead"
    )


def _not_pytorch() -> str:
    return "the server runs TorchScript and ONNX only: convert it to one of them"


def _advice_for(what: str) -> str:
    if "cut short" in what:
        return "copy or download it again"
    if "archive" in what:
        return "unpack it, and check what is in it"
    if "Git LFS" in what:
        return "fetch the file itself with `git lfs pull`"
    if "picture" in what:
        return "name the model file; pictures are sent to the server"
    return _not_pytorch()


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 for byte in head)
