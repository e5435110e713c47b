"""What the reconciler knows of one model: what it was last loaded from, and what an operator asked for."""

from dataclasses import dataclass, field

from linnaeus.server.config.model_settings import ModelSettings
from linnaeus.server.model_store.repository import FolderFingerprint, ModelFolder


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a version was last loaded from, or tried to be."""

    fingerprint: FolderFingerprint
    chosen: ModelSettings

    def is_like(self, other: "Attempt") -> bool:
        """Whether loading from the other would give the same version."""
        return self.fingerprint == other.fingerprint and self.chosen.runs_like(other.chosen)


@dataclass(slots=True)
class ReconciledModel:
    """What was done about one model.

    Attributes:
        fingerprints, config_fingerprint: of the folder that was last reconciled.
        attempts: what each version was last loaded from, refused or not.
        refused: versions whose last load was refused.
        unloaded: versions that somebody unloaded.
        configured_default: what config.toml says.
        default: what somebody said; wins.
        labels: what config.toml says.
    """

    fingerprints: dict[int, FolderFingerprint] = field(default_factory=dict)
    config_fingerprint: FolderFingerprint = ()
    attempts: dict[int, Attempt] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    unloaded: set[int] = field(default_factory=set)
    configured_default: str = ""
    default: str = ""
    labels: dict[str, int] = field(default_factory=dict)


def fingerprints_of(folder: ModelFolder) -> dict[int, FolderFingerprint]:
    """Returns the fingerprint of each version folder."""
    return {version: each.fingerprint for version, each in folder.versions.items()}
