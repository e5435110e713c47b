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
        self._entries: dict[Lane, Entry] = {}

    def put(self, entry: Entry) -> None:
        """Adds a version, or says anew where it stands."""
        self._entries[entry.lane] = entry

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
                self._entries[lane],
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
        self.put(replace(self._entries[lane], state=State.FAILED, reason=reason))

    def entries(self) -> list[Entry]:
        """All versions, by name, then version."""
        return [self._entries[lane] for lane in sorted(self._entries)]

    def knows(self, name: str) -> bool:
        """Whether any version has that name."""
        return any(entry.name == name for entry in self._entries.values())

    def find(self, name: str, version: str) -> Entry:
        """Returns the version meant by a request, ready or not.

        Args:
            name: the model's name; empty means the only one there is.
            version: a number; empty means the highest that is ready, or the highest of all if none is.

        Raises:
            ModelNotFound: no such model or version.
            InvalidArgument: the version is no number, or no name was given where there are several.
        """
        versions = self._versions(name or self._only_name())
        if not version:
            return max(versions, key=lambda entry: (entry.state is State.READY, entry.version))
        if not (version.isascii() and version.isdecimal()):
            raise InvalidArgument("version", f"version is {version!r:.40}, but must be a number or empty")
        for entry in versions:
            if str(entry.version) == version.lstrip("0"):
                return entry
        there = ", ".join(str(entry.version) for entry in versions)
        model = versions[0].name
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

    def _versions(self, name: str) -> list[Entry]:
        versions = [entry for entry in self.entries() if entry.name == name]
        if not versions:
            raise ModelNotFound(name[:80], f"there is no model {name[:80]!r}; there are: {self._names()}")
        return versions

    def _only_name(self) -> str:
        names = {entry.name for entry in self._entries.values()}
        if len(names) != 1:
            raise InvalidArgument("model", f"model is empty, but must be one of: {self._names()}")
        return names.pop()

    def _names(self) -> str:
        return ", ".join(sorted({entry.name for entry in self._entries.values()})) or "none"
