"""Writes an int8 version of a model in a repository, if it agrees with the version that it is made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from linnaeus.models.export.version_folder import (
    CHECK_SEED,
    VersionContent,
    check_input,
    next_version,
    require_new_version,
    write_version,
)
from linnaeus.models.manifest import CALIBRATION_FILE, Manifest, Quantization
from linnaeus.models.model_format import OPENVINO
from linnaeus.models.quantization.agreement import Accuracy, Agreement, describe, fault_of, too_few
from linnaeus.models.quantization.conversion import open_model, probabilities_of, save_model, top1
from linnaeus.models.quantization.int8 import quantize_to_int8
from linnaeus.models.quantization.pictures import DividedPictures, Pictures, read_pictures
from linnaeus.models.quantization.source import Source, find_source

if TYPE_CHECKING:
    import openvino

# Processors with VNNI or AMX gave the same to the last bit. Without VNNI, where int8 sums overflow, lenet differed by
# 0.007 (and lost 0.25 points of accuracy), efficientnet_lite0 by 0.07: they have to refuse the version.
INT8_TOLERANCE = 0.005
_ACCEPT = "say --accept to have it all the same"


@dataclass(frozen=True, slots=True)
class QuantizationOptions:
    """What the user says.

    Attributes:
        repository: the model repository.
        model: `name` for the newest version that is not quantized, or `name:version`.
        calibration: folder of pictures, as for `read_pictures`.
        held_out: how many pictures judge, as for `split`.
        version: the number of the new version; None for the next.
        accept: whether to write a version whose agreement does not suffice.
    """

    repository: Path
    model: str
    calibration: Path
    held_out: str | None = None
    version: int | None = None
    accept: bool = False


@dataclass(frozen=True, slots=True)
class Int8Model:
    """Implements `StoredModel`: an int8 OpenVINO model of uint8 [N, C, H, W] to float32 probabilities [N, classes]."""

    model: "openvino.Model"
    parameters: int

    @property
    def model_format(self) -> str:
        """See `StoredModel`."""
        return OPENVINO

    def save(self, folder: Path) -> None:
        """Writes model.xml and model.bin."""
        save_model(self.model, folder)


def quantize(options: QuantizationOptions) -> tuple[Path, Agreement]:
    """Writes the int8 version; returns its folder, and what it was judged by.

    Raises:
        FileExistsError: if the version exists.
        OSError: if a file cannot be read or written.
        ValueError: if there is no such model, OpenVINO cannot convert it, there are too few pictures, or the int8 model
            agrees too little with its original.
    """
    source = find_source(options.repository, options.model)
    manifest = source.manifest
    version = options.version or next_version(options.repository, manifest.name)
    require_new_version(options.repository, manifest.name, version)
    pictures = read_pictures(options.calibration, source.labels, manifest.input, options.held_out)
    if not options.accept and (lack := too_few(len(pictures.held_out))):
        raise ValueError(f"{lack}, or {_ACCEPT}")
    float32 = open_model(source.folder, manifest)
    _check_conversion(float32, manifest)
    int8 = quantize_to_int8(float32, pictures.calibration)
    agreement = _compare(float32, int8, pictures.held_out, manifest)
    fault = fault_of(agreement, pictures.most_points_lost)
    if fault and not options.accept:
        raise ValueError(f"{fault}: {describe(agreement)}; {_ACCEPT}")
    content = _content(source, int8, pictures, agreement, fault is not None)
    return write_version(content, options.repository, version), agreement


def _check_conversion(model: "openvino.Model", manifest: Manifest) -> None:
    """Raises ValueError if the converted model does not reproduce the recorded run of its original."""
    recorded = torch.tensor(manifest.check.probabilities)
    difference = (_checked(model, manifest, manifest.check.seed) - recorded).abs().max().item()
    # not `>`: NaN must fail as well
    if not difference <= manifest.check.tolerance:
        raise ValueError(f"OpenVINO differs by {difference:.2g} from the recorded run of version {manifest.version}")


def _checked(model: "openvino.Model", manifest: Manifest, seed: str) -> Tensor:
    return probabilities_of(model, check_input(manifest.input, seed), manifest.input)


def _compare(float32: "openvino.Model", int8: "openvino.Model", held_out: Pictures, manifest: Manifest) -> Agreement:
    before, after = top1((float32, int8), held_out, manifest.input)
    same = int((before == after).sum())
    if held_out.classes is None:
        return Agreement(len(held_out), same)
    right = (int((found == held_out.classes).sum()) for found in (before, after))
    return Agreement(len(held_out), same, Accuracy(*right))


def _content(
    source: Source, int8: "openvino.Model", pictures: DividedPictures, agreement: Agreement, is_accepted: bool
) -> VersionContent:
    manifest = source.manifest
    calibration = (source.folder / CALIBRATION_FILE).read_bytes() if manifest.calibration else b""
    return VersionContent(
        name=manifest.name,
        architecture=manifest.architecture,
        input=manifest.input,
        labels=source.labels,
        weights=manifest.weights,
        model=Int8Model(int8, manifest.parameters),
        probabilities=tuple(_checked(int8, manifest, CHECK_SEED).tolist()),
        calibration=calibration,
        tolerance=INT8_TOLERANCE,
        features=manifest.features,
        quantization=Quantization(
            precision="int8",
            version=manifest.version,
            sha256=manifest.sha256,
            calibration_pictures=len(pictures.calibration),
            held_out_pictures=agreement.pictures,
            agreement=agreement.rate,
            agreement_interval=agreement.interval,
            accuracy_float32=agreement.accuracy.correct_float32 / agreement.pictures if agreement.accuracy else None,
            accuracy=agreement.accuracy.correct_int8 / agreement.pictures if agreement.accuracy else None,
            accepted=is_accepted,
        ),
    )
