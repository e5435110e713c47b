"""The reconciler's state of one model: what its versions were last loaded from, and the operator's requests."""

from dataclasses import dataclass, field

from linnaeus.server.config.model_settings import ModelSettings
from linnaeus.server.model_store.repository import FolderFingerprint, ModelFolder


@dataclass(frozen=True, slots=True)
class Attempt:
    """The inputs of the last load of a version, successful or not."""

    fingerprint: FolderFingerprint
    settings: ModelSettings

    def is_like(self, other: "Attempt") -> bool:
        """Returns whether a load from the other's inputs gives the same version."""
        return self.fingerprint == other.fingerprint and self.settings.runs_like(other.settings)


@dataclass(slots=True)
class ReconciledModel:
    """The state of one model after its last reconciliation.

    Attributes:
        fingerprints: fingerprints of the version folders, by version.
        config_fingerprint: fingerprint of config.toml.
        attempts: the last load of each version, successful or not.
        refused: versions whose last load was refused.
        unloaded: versions that an operator unloaded.
        configured_default: default version in config.toml; empty if none.
        default: default version set by an operator, which overrides config.toml; empty if none.
        labels: version numbers by label, from config.toml.
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
