"""The picture of a version's recorded run."""

import numpy

from linnaeus.models.manifest import Manifest, check_pixels
from linnaeus.server.runtime.runner import Pixels


def check_picture(manifest: Manifest) -> Pixels:
    """Returns the picture, uint8 [H, W, C], read-only."""
    spec = manifest.input
    pixels = check_pixels(spec, manifest.check.seed)
    return numpy.frombuffer(pixels, numpy.uint8).reshape(spec.height, spec.width, spec.channels)
