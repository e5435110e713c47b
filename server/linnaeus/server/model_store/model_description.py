"""What callers of a model need to know of it; the model itself belongs to its device. Must not import torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from linnaeus.models.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The manifest and the labels, by class index, of a loaded model version; the same on all of its devices."""

    manifest: Manifest
    labels: Sequence[str]
