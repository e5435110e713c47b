"""Imports a user's own classifier into a version folder, whichever format its file has."""

from pathlib import Path

from linnaeus.models.export.model_metadata import ModelMetadata as ModelMetadata
from linnaeus.models.export.onnx_import import import_onnx_file
from linnaeus.models.export.torchscript_import import import_torchscript
from linnaeus.models.own_model.file_kind import FileKind, identify


def import_model(path: Path, metadata: ModelMetadata, repository: Path, version: int) -> Path:
    """Wraps the model in `path` with normalization and an activation; writes `<repository>/<name>/<version>`.

    Returns:
        The version folder.

    Raises:
        FileExistsError: if the version exists.
        FileNotFoundError: if there is no file.
        OSError: if the file or a calibration image cannot be read.
        RuntimeError: if it is ONNX, and a package for it is not installed.
        ValueError: if the file is neither TorchScript nor ONNX, would answer wrongly, or the calibration folder has no
            image.
    """
    if identify(path).kind is FileKind.ONNX:
        return import_onnx_file(path, metadata, repository, version)
    return import_torchscript(path, metadata, repository, version)
