"""Which model versions there are and where each stands. Belongs to the event loop's thread."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from linnaeus.models.manifest import Manifest
from linnaeus.server.errors import InvalidArgument, ModelNotFound, Unavailable
from linnaeus.server.runtime.model import Model

Lane: TypeAlias = tuple[str, int]

_LOADING_RETRY_SECONDS = 1.0


class State(Enum):
    """Where a model version stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One version: its state, why it was refused (FAILED), and what is known of it once it is READY.

    Attributes:
        name, version, state, reason: as told.
        model: on one of its devices; manifest and labels are the same on all.
        devices: the names of all it was loaded on.
        max_batch_size: of its batches, on any of them.
        load_seconds: how long loading took, on all of them.
        default_timeout_seconds: for calls without a deadline; 0.0 for none.
    """

    name: str
    version: int
    state: State
    reason: str = ""
    model: Model | None = None
    devices: tuple[str, ...] = ()
    max_batch_size: int = 0
    load_seconds: float = 0.0
    default_timeout_seconds: float = 0.0

    @property
    def lane(self) -> Lane:
        """Its key in the batch queue."""
        return (self.name, self.version)

    @property
    def manifest(self) -> Manifest | None:
        """Known once the version is ready."""
        return self.model.manifest if self.model else None


class Catalog:
    """All versions the server knows, by name and version."""

    def __init__(self) -> None:
        self._models: dict[str, dict[int, Entry]] = {}
        self._defaults: dict[str, Entry] = {}  # looked up by nearly every request

    def put(self, entry: Entry) -> None:
        """Adds a version, or says anew where it stands."""
        versions = self._models.setdefault(entry.name, {})
        versions[entry.version] = entry
        self._defaults[entry.name] = max(versions.values(), key=lambda each: (each.state is State.READY, each.version))

    def ready(
        self,
        lane: Lane,
        models: Sequence[Model],
        max_batch_size: int,
        load_seconds: float,
        default_timeout_seconds: float,
    ) -> None:
        """A version passed its checks and is warm, on one device or several."""
        self.put(
            replace(
                self._entry(lane),
                state=State.READY,
                model=models[0],
                devices=tuple(str(model.device) for model in models),
                max_batch_size=max_batch_size,
                load_seconds=load_seconds,
                default_timeout_seconds=default_timeout_seconds,
            )
        )

    def refused(self, lane: Lane, reason: str) -> None:
        """A version failed a check."""
        self.put(replace(self._entry(lane), state=State.FAILED, reason=reason))

    def entries(self) -> list[Entry]:
        """All versions, by name, then version."""
        return [versions[number] for _, versions in sorted(self._models.items()) for number in sorted(versions)]

    def knows(self, name: str) -> bool:
        """Whether any version has that name."""
        return name in self._models

    def find(self, name: str, version: str) -> Entry:
        """Returns the version meant by a request, ready or not.

        Args:
            name: the model's name; empty means the only one there is.
            version: a number; empty means the highest that is ready, or the highest of all if none is.

        Raises:
            ModelNotFound: no such model or version.
            InvalidArgument: the version is no number, or no name was given where there are several.
        """
        model = name or self._only_name()
        if model not in self._models:
            raise ModelNotFound(model[:80], f"there is no model {model[:80]!r}; there are: {self._names()}")
        if not version:
            return self._defaults[model]
        if not (version.isascii() and version.isdecimal()):
            raise InvalidArgument("version", f"version is {version!r:.40}, but must be a number or empty")
        versions = self._models[model]
        for entry in versions.values():
            if str(entry.version) == version.lstrip("0"):
                return entry
        there = ", ".join(map(str, sorted(versions)))
        raise ModelNotFound(f"{model}/{version:.20}", f"model {model} has no version {version:.20}; there are: {there}")

    def resolve(self, name: str, version: str) -> tuple[Entry, Model]:
        """Returns the version that is to answer a request, with its model.

        Raises:
            Unavailable: it is still loading.
            ModelNotFound: there is none, or it was refused at load.
            InvalidArgument: see `find`.
        """
        entry = self.find(name, version)
        if entry.model is not None:
            return entry, entry.model
        called = f"{entry.name}/{entry.version}"
        if entry.state is State.LOADING:
            raise Unavailable(f"model {called} is loading; try again soon", _LOADING_RETRY_SECONDS)
        raise ModelNotFound(called, f"model {called} is not served, for it was refused at load: {entry.reason}")

    def _entry(self, lane: Lane) -> Entry:
        name, version = lane
        return self._models[name][version]

    def _only_name(self) -> str:
        if len(self._models) != 1:
            raise InvalidArgument("model", f"model is empty, but must be one of: {self._names()}")
        return next(iter(self._models))

    def _names(self) -> str:
        return ", ".join(sorted(self._models)) or "none"
