"""The formats that a version's model may be stored in, and which files belong to each.

It imports the standard library only, and must not know what runs a format.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

TORCHSCRIPT = "torchscript"
ONNX = "onnx"
OPENVINO = "openvino"

# The files of each format in a version folder; the first is the one that a runtime is given.
MODEL_FILES: Mapping[str, tuple[str, ...]] = {
    TORCHSCRIPT: ("model.pt",),
    ONNX: ("model.onnx",),
    OPENVINO: ("model.xml", "model.bin"),
}
ALL_MODEL_FILES = frozenset(name for names in MODEL_FILES.values() for name in names)


def model_files_digest(folder: Path, model_format: str) -> str:
    """Returns the SHA-256, in hexadecimal, of a format's files one after the other.

    For a format of one file it is the digest of that file, as `sha256sum` prints it. Reads in chunks, because a VGG has
    half a gigabyte.

    Raises:
        OSError: if a file is missing or cannot be read; `filename` is its path.
    """
    digest = hashlib.sha256()
    for name in MODEL_FILES[model_format]:
        with (folder / name).open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
