"""The reconciler's state of one model: what its versions were last loaded from, and the operator's requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from linnaeus.server.config.model_settings import ModelSettings
from linnaeus.server.model_store.model_folders import FolderFingerprint, ModelFolder


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
        seen: the same at the last scan, reconciled or not.
        config_fingerprint: fingerprint of config.toml.
        attempts: the last load of each version, successful or not.
        refused: versions whose last load was refused.
        reported: the reasons of these that the log has.
        unloaded: versions that an operator unloaded.
        configured_default: default version in config.toml; empty if none.
        default: default version set by an operator, which overrides config.toml; empty if none.
        labels: version numbers by label, from config.toml.
    """

    fingerprints: dict[int, FolderFingerprint] = field(default_factory=dict)
    seen: dict[int, FolderFingerprint] = field(default_factory=dict)
    config_fingerprint: FolderFingerprint = ()
    attempts: dict[int, Attempt] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    reported: dict[int, str] = field(default_factory=dict)
    unloaded: set[int] = field(default_factory=set)
    configured_default: str = ""
    default: str = ""
    labels: dict[str, int] = field(default_factory=dict)

    def begin(self, folder: ModelFolder) -> None:
        """Notes the fingerprints of a folder that is reconciled now."""
        self.fingerprints = self.seen = fingerprints_of(folder)
        self.config_fingerprint = folder.config_fingerprint

    def notice(self, folder: ModelFolder) -> bool:
        """Compares a scan of the folder with the last reconciliation; returns whether to reconcile now.

        A refused version that is still being written is not worth another load: its files are waited for until two
        scans find them the same.
        """
        now = fingerprints_of(folder)
        changed = {version for version in now.keys() | self.fingerprints if self._differs(version, now)}
        unfinished = {
            version for version in changed & self.refused if _is_written(self.seen.get(version), now, version)
        }
        self.seen = now
        return folder.config_fingerprint != self.config_fingerprint or bool(changed - unfinished)

    def _differs(self, version: int, now: Mapping[int, FolderFingerprint]) -> bool:
        return now.get(version) != self.fingerprints.get(version)


def _is_written(before: FolderFingerprint | None, now: Mapping[int, FolderFingerprint], version: int) -> bool:
    """Returns whether a version's files changed since the last scan, within the same folder."""
    current = now.get(version)
    return before is not None and current is not None and before != current and before[0] == current[0]


def fingerprints_of(folder: ModelFolder) -> dict[int, FolderFingerprint]:
    """Returns the fingerprint of each version folder."""
    return {version: each.fingerprint for version, each in folder.versions.items()}
