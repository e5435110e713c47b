"""Imports a user's own ONNX classifier into a version folder."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linnaeus.models.activation import Activation
from linnaeus.models.export.calibration_images import read_calibration_images
from linnaeus.models.export.model_metadata import ModelMetadata
from linnaeus.models.export.onnx_wrapping import wrap
from linnaeus.models.export.version_folder import (
    CHECK_TOLERANCE,
    HALF_CHECK_TOLERANCE,
    VersionContent,
    check_input,
    require_new_version,
    write_version,
)
from linnaeus.models.manifest import Weights
from linnaeus.models.model_format import MODEL_FILES, ONNX
from linnaeus.models.own_model.onnx_graph import normalized_already, read_onnx, takes_pixels
from linnaeus.models.own_model.onnx_packages import import_onnx, import_onnxruntime, quiet_options
from linnaeus.models.own_model.onnx_trial import try_onnx, usable_network
from linnaeus.models.own_model.trial_run import Usage, first_problem

_AS_IT_IS = ((0.0,), (1.0,))


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """Implements `StoredModel`: a ModelProto from uint8 [N, C, H, W] to probabilities [N, classes] and any features."""

    model: Any

    @property
    def model_format(self) -> str:
        """See `StoredModel`."""
        return ONNX

    @property
    def parameters(self) -> int:
        """Counts the constants of floating-point numbers; see `StoredModel`."""
        types = import_onnx().TensorProto
        floats = (types.FLOAT, types.FLOAT16, types.BFLOAT16, types.DOUBLE)
        return sum(prod(each.dims) for each in self.model.graph.initializer if each.data_type in floats)

    def save(self, folder: Path) -> None:
        """Writes model.onnx, with all weights in it."""
        (folder / MODEL_FILES[ONNX][0]).write_bytes(self.model.SerializeToString())


def import_onnx_file(path: Path, metadata: ModelMetadata, repository: Path, version: int) -> Path:
    """Wraps the ONNX in `path` with normalization and an activation; writes `<repository>/<name>/<version>`.

    Weights that lie in files beside it are written into the version's model.onnx.

    Returns:
        The version folder.

    Raises:
        FileExistsError: if the version exists.
        OSError: if the file or a calibration image cannot be read.
        RuntimeError: if a package for ONNX is not installed.
        ValueError: if the graph is damaged, too large, or would answer wrongly, or the calibration folder contains no
            image.
    """
    require_new_version(repository, metadata.name, version)
    calibration = read_calibration_images(metadata.calibration, metadata.input) if metadata.calibration else b""
    model = read_onnx(path)
    normalization = _normalization(model, metadata, path)
    mean, std = normalization or _AS_IT_IS
    usage = Usage(metadata.input, mean, std, metadata.labels, metadata.activation, metadata.features)
    if found := first_problem(try_onnx(model, usage)):
        raise ValueError(f"{path} {found.text}; {found.advice}")
    activation = metadata.activation or Activation.SOFTMAX
    network = usable_network(model, usage)
    wrapped = wrap(network, metadata.input, normalization, activation, len(metadata.labels))
    probabilities, *features = _run(wrapped, check_input(metadata.input))
    content = VersionContent(
        name=metadata.name,
        architecture=str(model.graph.name or path.stem),
        input=metadata.input,
        labels=metadata.labels,
        weights=Weights(f"imported from {path.name}"),
        model=OnnxModel(wrapped),
        probabilities=tuple(probabilities[0].tolist()),
        tolerance=HALF_CHECK_TOLERANCE if network.input.dtype == "float16" else CHECK_TOLERANCE,
        calibration=calibration,
        features=features[0].shape[1] if features else 0,
    )
    return write_version(content, repository, version)


def _normalization(
    model: Any, metadata: ModelMetadata, path: Path
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns mean and deviation; None for a graph that takes pixels as they are."""
    if not takes_pixels(model):
        return metadata.normalization()
    if metadata.mean is not None or metadata.std is not None:
        found = normalized_already()
        raise ValueError(f"{path} {found.text}; {found.advice}")
    return None


def _run(model: Any, pixels: Tensor) -> list[Tensor]:
    session = import_onnxruntime().InferenceSession(
        model.SerializeToString(), quiet_options(), providers=["CPUExecutionProvider"]
    )
    outputs = session.run(None, {session.get_inputs()[0].name: pixels.contiguous().numpy()})
    return [torch.from_numpy(each) for each in outputs]
