"""The pictures by which a precision is compared with float32: those that a version recorded, or drawn ones."""

import hashlib

import numpy

from linnaeus.models.manifest import CALIBRATION_FILE, Calibration, InputSpec, check_pixels
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact import Artifact
from linnaeus.server.runtime.runner import Pixels

_DRAWN = 32


def recorded_pictures(artifact: Artifact) -> list[Pixels]:
    """Returns what the version's folder recorded, uint8 [H, W, C] each; empty if it recorded none.

    Raises:
        ModelRefused: the file is missing, or not the one that the manifest means.
    """
    calibration = artifact.manifest.calibration
    return _read(artifact, calibration) if calibration else []


def drawn_pictures(spec: InputSpec) -> list[Pixels]:
    """Draws boards of coarse fields, the same on every machine, as the recorded check run's input is."""
    shape = (spec.height, spec.width, spec.channels)
    seeds = [f"linnaeus calibration {number}" for number in range(_DRAWN)]
    return [numpy.frombuffer(check_pixels(spec, seed), numpy.uint8).reshape(shape) for seed in seeds]


def _read(artifact: Artifact, calibration: Calibration) -> list[Pixels]:
    spec, path = artifact.manifest.input, artifact.folder / CALIBRATION_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelRefused(f"{path.name} is missing") from None
    except OSError as error:
        raise ModelRefused(f"{path.name} cannot be read: {error}") from None
    shape = (calibration.pictures, spec.height, spec.width, spec.channels)
    if hashlib.sha256(content).hexdigest() != calibration.sha256 or len(content) != numpy.prod(shape):
        raise ModelRefused(f"{path.name} is not the one that calibration in manifest.json means; export the model anew")
    return list(numpy.frombuffer(content, numpy.uint8).reshape(shape))
