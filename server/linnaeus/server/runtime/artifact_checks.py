"""Reads a version folder and refuses it unless every check of its contract holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from linnaeus.models.manifest import (
    Manifest,
    ManifestError,
    read_labels,
    read_manifest,
    version_of_folder,
)
from linnaeus.models.model_format import MODEL_FILES, TORCHSCRIPT, model_files_digest
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.check_picture import check_picture
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.device_preferences import memory_format
from linnaeus.server.runtime.model_formats import require_runtime
from linnaeus.server.runtime.model_outputs import split_outputs
from linnaeus.server.runtime.out_of_memory import FAILURES, error_summary, is_out_of_memory
from linnaeus.server.runtime.torch_module import TorchModule, fitted
from linnaeus.server.runtime.variants import FLOAT32
from linnaeus.text_files import reason_of


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version folder that was read and checked; nothing is on a device yet."""

    folder: Path
    manifest: Manifest
    labels: tuple[str, ...]


def read_artifact(folder: Path, served_as: str = "") -> Artifact:
    """Reads `<root>/<model>/<version>` and checks that its files agree with one another and with the folder's name.

    Args:
        folder: the version's folder.
        served_as: the operator's name for the model, which takes the place of the manifest's; empty for none.

    Raises:
        ModelRefused: if a check fails; the message names the file and the field.
    """
    try:
        manifest = read_manifest(folder)
        labels = read_labels(folder, manifest.classes)
    except ManifestError as error:
        raise ModelRefused(str(error)) from None
    _check_version(folder, manifest, served_as)
    if served_as:
        manifest = replace(manifest, name=served_as)
    elif manifest.name != folder.parent.name:
        raise ModelRefused(f"manifest.json: name is {manifest.name!r}, but the folder is {folder.parent.name!r}")
    _check_digest(folder, manifest)
    require_runtime(manifest)
    return Artifact(folder, manifest, labels)


def load_module(artifact: Artifact, device: torch.device, precision: str = FLOAT32) -> TorchModule:
    """Loads the TorchScript onto the device, freezes it for the precision, and checks its output's shape and dtype.

    Raises:
        ModelRefused: if `model.pt` cannot be loaded, does not fit into the device's memory, has another output, or
            cannot run in this precision.
    """
    if artifact.manifest.model_format != TORCHSCRIPT:
        raise ModelRefused(f"{artifact.manifest.model_file} is not TorchScript, which is all that torch opens")
    try:
        loaded: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            str(artifact.folder / artifact.manifest.model_file), map_location=device
        )
        module = fitted(loaded.eval(), device, precision, memory_format(device, precision))
        _check_output(module, artifact.manifest, _check_image(artifact.manifest).to(device))
    except FAILURES as error:
        what = "cannot be loaded and run" if precision == FLOAT32 else f"cannot be run in {precision}"
        raise refusal(error, what, device, artifact.manifest.model_file) from error
    return module


def refusal(error: Exception, what: str, device: torch.device, file: str) -> ModelRefused:
    """Returns the refusal of a version that failed on the device; `what` completes "<file> …"."""
    if is_out_of_memory(error):
        return ModelRefused(
            f"{file} does not fit into what memory is left on {device}; "
            f"serve fewer models there, or set a smaller max_batch_size ({error_summary(error)})"
        )
    return ModelRefused(f"{file} {what}: {error_summary(error)}")


def _check_version(folder: Path, manifest: Manifest, served_as: str) -> None:
    """Checks the number of the folder; a version that is served by itself may lie in any folder."""
    number = version_of_folder(folder.name)
    if manifest.version != number and not (served_as and number is None):
        raise ModelRefused(f"manifest.json: version is {manifest.version}, but the folder is {folder.name!r}")


def _check_digest(folder: Path, manifest: Manifest) -> None:
    try:
        digest = model_files_digest(folder, manifest.model_format)
    except FileNotFoundError as error:
        raise ModelRefused(f"{Path(error.filename).name} is missing") from None
    except OSError as error:
        name = Path(error.filename).name if error.filename else manifest.model_file
        raise ModelRefused(f"{name} cannot be read: {reason_of(error)}") from None
    if digest != manifest.sha256:
        names = MODEL_FILES[manifest.model_format]
        files = f"{' and '.join(names)} {'has' if len(names) == 1 else 'have'}"
        # Without the digest that it has: the sentence stays the same while the file is being copied.
        raise ModelRefused(
            f"manifest.json: sha256 is {manifest.sha256:.12}…, but {files} another; wait until it is copied "
            "whole, or export the model anew"
        )


def check_recorded(manifest: Manifest, probabilities: Sequence[float]) -> None:
    """Compares the answer to the recorded run's picture, by class index, with what was recorded.

    Raises:
        ModelRefused: if they differ by more than the recorded tolerance.
    """
    check = manifest.check
    differences = [abs(given - recorded) for given, recorded in zip(probabilities, check.probabilities, strict=True)]
    if not all(difference <= check.tolerance for difference in differences):  # also NaN
        raise ModelRefused(
            f"{manifest.model_file} differs by {max(differences):.2g} from check.probabilities in manifest.json, "
            f"whose tolerance is {check.tolerance:.2g}"
        )


def _check_image(manifest: Manifest) -> Tensor:
    picture = torch.from_numpy(check_picture(manifest).copy())
    return picture.unsqueeze(0).permute(0, 3, 1, 2)


def _check_output(module: TorchModule, manifest: Manifest, image: Tensor) -> None:
    with torch.inference_mode(), without_profiling():
        probabilities, features = split_outputs(module(image))
    if probabilities.shape != (1, manifest.classes) or probabilities.dtype != torch.float32:
        raise ModelRefused(
            f"{manifest.model_file} gives {probabilities.dtype} {list(probabilities.shape)} for one image, but must "
            f"give torch.float32 [1, {manifest.classes}]"
        )
    given = None if features is None else (features.dtype, list(features.shape))
    if given != ((torch.float32, [1, manifest.features]) if manifest.features else None):
        raise ModelRefused(
            f"{manifest.model_file} gives {'no features' if given is None else f'features {given[0]} {given[1]}'} for "
            f"one image, but features in manifest.json is {manifest.features}"
        )
