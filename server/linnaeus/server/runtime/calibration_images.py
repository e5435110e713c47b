"""The pictures on which a precision is compared with float32: recorded in the version folder, or generated."""

import hashlib

import numpy

from linnaeus.models.manifest import CALIBRATION_FILE, Calibration, InputSpec, check_pixels
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact_checks import Artifact
from linnaeus.server.runtime.runner import Pixels
from linnaeus.text_files import reason_of

_GENERATED_COUNT = 32


def recorded_pictures(artifact: Artifact) -> list[Pixels]:
    """Returns the pictures recorded in the version folder, uint8 [H, W, C] each; empty if it recorded none.

    Raises:
        ModelRefused: if the file is missing, cannot be read, or differs from the manifest's digest or size.
    """
    calibration = artifact.manifest.calibration
    return _read(artifact, calibration) if calibration else []


def generated_pictures(spec: InputSpec) -> list[Pixels]:
    """Returns pseudo-random mosaics, uint8 [H, W, C] each; the same on every machine, as the recorded check's input."""
    shape = (spec.height, spec.width, spec.channels)
    seeds = [f"linnaeus calibration {number}" for number in range(_GENERATED_COUNT)]
    return [numpy.frombuffer(check_pixels(spec, seed), numpy.uint8).reshape(shape) for seed in seeds]


def _read(artifact: Artifact, calibration: Calibration) -> list[Pixels]:
    spec, path = artifact.manifest.input, artifact.folder / CALIBRATION_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelRefused(f"{path.name} is missing") from None
    except OSError as error:
        raise ModelRefused(f"{path.name} cannot be read: {reason_of(error)}") from None
    shape = (calibration.pictures, spec.height, spec.width, spec.channels)
    if hashlib.sha256(content).hexdigest() != calibration.sha256 or len(content) != numpy.prod(shape):
        raise ModelRefused(f"{path.name} is not the one that calibration in manifest.json means; export the model anew")
    return list(numpy.frombuffer(content, numpy.uint8).reshape(shape))
