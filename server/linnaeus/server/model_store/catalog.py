"""The catalog of model versions and their states; resolves the version that a request names.

This module must not know how versions are found or loaded.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from enum import Enum

from linnaeus.models.manifest import Manifest
from linnaeus.server.errors import Unavailable
from linnaeus.server.model_store import not_found
from linnaeus.server.model_store.model_description import ModelDescription
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.runtime.specialisation import Specialisation as Specialisation

_RETRY_SECONDS = 1.0
_MOST_DIGITS = 18


class ModelState(Enum):
    """The state of a model version."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"
    UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True)
class Entry:
    """The catalog entry of one model version. The fields about the loaded model are set only while it is READY.

    Attributes:
        name, version: name of the model and number of the version.
        state: state of the version.
        reason: why the version is not served; if it is READY, why its last reload was refused.
        generation: number of the load, unique within the server; 0 before the first.
        model: its manifest and labels.
        devices: names of the devices on which the version is loaded.
        max_batch_size: largest batch size, on any device.
        load_seconds: time taken to load the version on all devices.
        default_timeout_seconds: timeout of requests without a deadline; 0.0 for none.
        specialisations: how the model was specialised for each device.
    """

    name: str
    version: int
    state: ModelState
    reason: str = ""
    generation: int = 0
    model: ModelDescription | None = None
    devices: tuple[str, ...] = ()
    max_batch_size: int = 0
    load_seconds: float = 0.0
    default_timeout_seconds: float = 0.0
    specialisations: tuple[Specialisation, ...] = ()

    @property
    def lane(self) -> LaneKey:
        """Key of the version's lane in the batch queue."""
        return LaneKey(self.name, self.version, self.generation)

    @property
    def manifest(self) -> Manifest | None:
        """Manifest of the model; None if no model is loaded."""
        return self.model.manifest if self.model else None


@dataclass(frozen=True, slots=True)
class _Versions:
    """The versions of one model. Immutable: replaced at every change.

    Attributes:
        entries: entries by version number.
        labels: version numbers by label.
        default: number or label of the default version; empty for the highest version that is ready.
    """

    entries: Mapping[int, Entry] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    default: str = ""

    def number_of(self, version: str) -> int:
        """Returns the version number that a number or label names; 0 if there is none."""
        if version.isascii() and version.isdecimal():
            return int(version) if len(version) <= _MOST_DIGITS else 0
        return self.labels.get(version, 0)

    def default_entry(self) -> Entry:
        """Returns the version for requests that name none: the default if it is ready, else the highest that is."""
        configured = self.entries.get(self.number_of(self.default)) if self.default else None
        if configured is not None and configured.state is ModelState.READY:
            return configured
        return max(self.entries.values(), key=_precedence)


# If no version is ready, a loading one comes first, because it may be ready soon; then a failed one, whose reason the
# caller needs.
_PRECEDENCE = (ModelState.UNLOADED, ModelState.DRAINING, ModelState.FAILED, ModelState.LOADING, ModelState.READY)


def _precedence(entry: Entry) -> tuple[int, int]:
    return _PRECEDENCE.index(entry.state), entry.version


class Catalog:
    """The entries of all model versions, by name and number.

    The event loop's thread makes all changes. Any thread may read: values are replaced, never modified.

    Args:
        default_model: name of the model for requests that name none; empty for the only model.
        wanted_models: names of the models that the server is to serve, of which one may be the only model; empty for
            all that the catalog has.
        on_change: receives the name of a model after each change of it.
    """

    def __init__(
        self,
        default_model: str = "",
        wanted_models: Set[str] = frozenset(),
        on_change: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.on_change = on_change
        self._default_model = default_model
        self._wanted_models = wanted_models
        self._models: dict[str, _Versions] = {}
        self._defaults: dict[str, Entry] = {}  # precomputed, because nearly every request needs it

    def replace(self, name: str, entries: Iterable[Entry], labels: Mapping[str, int], default: str) -> None:
        """Sets everything about a model, as another catalog has it; without entries, removes it."""
        by_number = {entry.version: entry for entry in entries}
        if by_number:
            self._set(name, _Versions(by_number, dict(labels), default))
        elif name in self._models:
            self._forget(name)

    def put(self, entry: Entry) -> None:
        """Adds or replaces the entry of a version."""
        versions = self._models.get(entry.name, _Versions())
        self._set(entry.name, replace(versions, entries={**versions.entries, entry.version: entry}))

    def remove(self, name: str, version: int) -> None:
        """Removes a version, and with the last version its model."""
        versions = self._models[name]
        rest = {number: entry for number, entry in versions.entries.items() if number != version}
        if rest:
            self._set(name, replace(versions, entries=rest))
        else:
            self._forget(name)

    def name_versions(self, name: str, labels: Mapping[str, int], default: str) -> None:
        """Sets the labels and the default version of a model; does nothing if the model is unknown.

        Args:
            name: name of the model.
            labels: version numbers by label.
            default: number or label of the default version; empty for the highest version that is ready.
        """
        if name in self._models:
            self._set(name, replace(self._models[name], labels=dict(labels), default=default))

    def entries(self) -> list[Entry]:
        """Returns all versions, sorted by name and number."""
        models = sorted(self._models.items())
        return [versions.entries[number] for _, versions in models for number in sorted(versions.entries)]

    def versions(self, name: str) -> dict[int, Entry]:
        """Returns a model's versions in ascending order; empty if the model is unknown."""
        versions = self._models.get(name)
        return dict(sorted(versions.entries.items())) if versions else {}

    def labels(self, name: str) -> dict[str, int]:
        """Returns the version numbers of a model by label; empty if the model is unknown."""
        versions = self._models.get(name)
        return dict(versions.labels) if versions else {}

    def configured_default(self, name: str) -> str:
        """Returns the number or label of a model's default version; empty for the highest that is ready."""
        versions = self._models.get(name)
        return versions.default if versions else ""

    def names(self) -> list[str]:
        """Returns the names of all models, sorted."""
        return sorted(self._models)

    def is_default(self, entry: Entry) -> bool:
        """Returns whether the version answers requests that name no version."""
        default = self._defaults.get(entry.name)
        return default is not None and (default.version, default.state) == (entry.version, ModelState.READY)

    @property
    def default_model(self) -> str:
        """Name of the model for requests that name none; empty if there is none.

        It does not depend on what is loaded: while the default model is unloaded, no other one answers in its place.
        """
        names = self._wanted_models or self._models.keys()
        return self._default_model or (next(iter(names)) if len(names) == 1 else "")

    def knows(self, name: str) -> bool:
        """Returns whether the catalog has a model of that name."""
        return name in self._models

    def find(self, name: str, version: str) -> Entry:
        """Returns the version that a request names, ready or not.

        Args:
            name: name of the model; empty for the default model.
            version: number or label of the version; empty for the default.

        Raises:
            ModelNotFound: if the model, version or label does not exist.
            InvalidArgument: if `name` is empty and there is no default model, or `version` is malformed.
        """
        model = name or self.default_model
        if model not in self._models:
            served = self._served()
            raise not_found.unknown_model(name, served) if name else not_found.missing_name(model, served)
        if not version:
            return self._defaults[model]
        versions = self._models[model]
        entry = versions.entries.get(versions.number_of(version))
        if entry is None:
            ready = [number for number, each in versions.entries.items() if each.state is ModelState.READY]
            raise not_found.unknown_version(model, version, ready, versions.labels)
        return entry

    def resolve(self, name: str, version: str) -> tuple[Entry, ModelDescription]:
        """Returns the ready version that answers a request, and its manifest and labels.

        Args:
            name: as in `find`.
            version: as in `find`.

        Raises:
            Unavailable: if the version is loading or draining.
            ModelNotFound: if the version does not exist, was refused at load or is not loaded.
            InvalidArgument: as in `find`.
        """
        entry = self.find(name, version)
        if entry.state is ModelState.READY and entry.model is not None:
            return entry, entry.model
        full_name = f"{not_found.shortened(entry.name)}/{entry.version}"
        if entry.state is ModelState.LOADING:
            raise Unavailable(f"model {full_name} is loading; try again soon", _RETRY_SECONDS)
        if entry.state is ModelState.DRAINING:
            raise Unavailable(f"model {full_name} is being unloaded; ask for another version", _RETRY_SECONDS)
        if entry.state is ModelState.FAILED:
            why = "is not served, for it was refused at load: "
            raise not_found.not_served(entry.name, entry.version, why, entry.reason)
        raise not_found.not_served(entry.name, entry.version, "is not loaded: ", entry.reason)

    def _set(self, name: str, versions: _Versions) -> None:
        self._models = {**self._models, name: versions}
        self._defaults[name] = versions.default_entry()
        self.on_change(name)

    def _forget(self, name: str) -> None:
        self._models = {each: kept for each, kept in self._models.items() if each != name}
        del self._defaults[name]
        self.on_change(name)

    def _served(self) -> list[str]:
        """Returns the names of the models that have a version that is ready, sorted."""
        return sorted(name for name, default in self._defaults.items() if default.state is ModelState.READY)
