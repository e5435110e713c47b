"""Which model versions there are, where each stands, and which one a request means.

Changed on the event loop's thread only; read from any, for what is read is replaced and never altered.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from linnaeus.models.manifest import Manifest
from linnaeus.server.errors import InvalidArgument, ModelNotFound, Unavailable
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.specialisation import Specialisation as Specialisation

_RETRY_SECONDS = 1.0
_MOST_DIGITS = 18


class ModelState(Enum):
    """Where a model version stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"
    UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True)
class Entry:
    """One version: its state, and what is known of it once it is READY.

    Attributes:
        name, version, state: as told.
        reason: why it is not served; of one that is READY, why its last reload was refused.
        generation: counts what was loaded; 0 before.
        model: on one of its devices; manifest and labels are the same on all.
        devices: the names of all it was loaded on.
        specialisations: how it was fitted to each of them.
        max_batch_size: of its batches, on any of them.
        load_seconds: how long loading took, on all of them.
        default_timeout_seconds: for calls without a deadline; 0.0 for none.
    """

    name: str
    version: int
    state: ModelState
    reason: str = ""
    generation: int = 0
    model: Model | None = None
    devices: tuple[str, ...] = ()
    max_batch_size: int = 0
    load_seconds: float = 0.0
    default_timeout_seconds: float = 0.0
    specialisations: tuple[Specialisation, ...] = ()

    @property
    def lane(self) -> LaneKey:
        """Its key in the batch queue."""
        return LaneKey(self.name, self.version, self.generation)

    @property
    def manifest(self) -> Manifest | None:
        """Known while it is served."""
        return self.model.manifest if self.model else None


@dataclass(frozen=True, slots=True)
class _Versions:
    """All that is known of one model; replaced at every change.

    Attributes:
        entries: by number.
        labels: the versions that labels name.
        default: a number or a label for requests that name none; empty for the highest that is ready.
    """

    entries: Mapping[int, Entry] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    default: str = ""

    def named(self, version: str) -> int:
        """The number that a version or label stands for; 0 if there is none such."""
        if version.isascii() and version.isdecimal():
            return int(version) if len(version) <= _MOST_DIGITS else 0
        return self.labels.get(version, 0)

    def chosen(self) -> Entry:
        """What answers a request that names no version: the default if it is ready, else the highest that is."""
        named = self.entries.get(self.named(self.default)) if self.default else None
        if named is not None and named.state is ModelState.READY:
            return named
        return max(self.entries.values(), key=_precedence)


# Of several versions none of which is ready, the one that may soon be answers; then the one that says what is wrong.
_PRECEDENCE = (ModelState.UNLOADED, ModelState.DRAINING, ModelState.FAILED, ModelState.LOADING, ModelState.READY)


def _precedence(entry: Entry) -> tuple[int, int]:
    return _PRECEDENCE.index(entry.state), entry.version


class Catalog:
    """All versions the server knows, by name and version."""

    def __init__(self) -> None:
        self._models: dict[str, _Versions] = {}
        self._defaults: dict[str, Entry] = {}  # looked up by nearly every request

    def put(self, entry: Entry) -> None:
        """Adds a version, or says anew where it stands."""
        versions = self._models.get(entry.name, _Versions())
        self._set(entry.name, replace(versions, entries={**versions.entries, entry.version: entry}))

    def remove(self, name: str, version: int) -> None:
        """Forgets a version, and its model with the last one."""
        versions = self._models[name]
        rest = {number: entry for number, entry in versions.entries.items() if number != version}
        if rest:
            self._set(name, replace(versions, entries=rest))
        else:
            self._models = {each: known for each, known in self._models.items() if each != name}
            del self._defaults[name]

    def name_versions(self, name: str, labels: Mapping[str, int], default: str) -> None:
        """Says which versions of a model labels stand for, and which one is the default; see `_Versions`."""
        if name in self._models:
            self._set(name, replace(self._models[name], labels=dict(labels), default=default))

    def entries(self) -> list[Entry]:
        """All versions, by name, then version."""
        known = sorted(self._models.items())
        return [versions.entries[number] for _, versions in known for number in sorted(versions.entries)]

    def versions(self, name: str) -> dict[int, Entry]:
        """A model's versions by number, growing; empty if there is no such model."""
        known = self._models.get(name)
        return dict(sorted(known.entries.items())) if known else {}

    def labels(self, name: str) -> dict[str, int]:
        """The labels of a model, each with the version it names."""
        known = self._models.get(name)
        return dict(known.labels) if known else {}

    def is_default(self, entry: Entry) -> bool:
        """Whether it answers requests that name no version."""
        default = self._defaults.get(entry.name)
        return default is not None and (default.version, default.state) == (entry.version, ModelState.READY)

    def knows(self, name: str) -> bool:
        """Whether any version has that name."""
        return name in self._models

    def find(self, name: str, version: str) -> Entry:
        """Returns the version meant by a request, ready or not.

        Args:
            name: the model's name; empty means the only one there is.
            version: a number or a label; empty means the default.

        Raises:
            ModelNotFound: no such model, version or label.
            InvalidArgument: no name was given where there are several models, or what was given can be no version.
        """
        model = name or self._only_name()
        if model not in self._models:
            raise ModelNotFound(model[:80], f"there is no model {model[:80]!r}; there are: {self._names()}")
        if not version:
            return self._defaults[model]
        versions = self._models[model]
        found = versions.entries.get(versions.named(version))
        return found if found is not None else _raise_not_found(model, version, versions)

    def resolve(self, name: str, version: str) -> tuple[Entry, Model]:
        """Returns the version that is to answer a request, with its model.

        Raises:
            Unavailable: it is still loading, or about to be unloaded.
            ModelNotFound: there is none, it was refused at load, or it is not loaded.
            InvalidArgument: see `find`.
        """
        entry = self.find(name, version)
        if entry.state is ModelState.READY and entry.model is not None:
            return entry, entry.model
        called = f"{entry.name}/{entry.version}"
        if entry.state is ModelState.LOADING:
            raise Unavailable(f"model {called} is loading; try again soon", _RETRY_SECONDS)
        if entry.state is ModelState.DRAINING:
            raise Unavailable(f"model {called} is being unloaded; ask for another version", _RETRY_SECONDS)
        if entry.state is ModelState.FAILED:
            raise ModelNotFound(called, f"model {called} is not served, for it was refused at load: {entry.reason}")
        raise ModelNotFound(called, f"model {called} is not loaded: {entry.reason}")

    def _set(self, name: str, versions: _Versions) -> None:
        self._models = {**self._models, name: versions}
        self._defaults[name] = versions.chosen()

    def _only_name(self) -> str:
        loaded = [name for name, default in self._defaults.items() if default.state is not ModelState.UNLOADED]
        if len(loaded) != 1:
            raise InvalidArgument("model", f"model is empty, but must be one of: {self._names()}")
        return loaded[0]

    def _names(self) -> str:
        return ", ".join(sorted(self._models)) or "none"


def _raise_not_found(model: str, version: str, versions: _Versions) -> Entry:
    there = ", ".join([*map(str, sorted(versions.entries)), *sorted(versions.labels)])
    if version in versions.labels:
        message = f"label {version} of model {model} names version {versions.labels[version]}, which is not there"
        raise ModelNotFound(f"{model}/{version}", message)
    if not _may_be_version(version):
        raise InvalidArgument("version", f"version is {version!r:.40}, but must be a number, a label or empty")
    raise ModelNotFound(f"{model}/{version:.20}", f"model {model} has no version {version:.20}; there are: {there}")


def _may_be_version(version: str) -> bool:
    return version.isascii() and version.replace("-", "").replace("_", "").isalnum() and version[0] != "-"
