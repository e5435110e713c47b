"""Makes what is served of one model what its folder and its config.toml say; decides what has to be loaded for that.

Belongs to the event loop's thread. Of one model, one call at a time: `control` sees to that.

No frame here keeps an entry over a wait for its version's end: it holds the model, whose memory is to be free by then.
"""

import asyncio
import logging
from dataclasses import dataclass, field, replace
from enum import Enum

from linnaeus.server.config.model_settings import CONFIG_FILE, ModelSettings, model_settings
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import ModelRefused
from linnaeus.server.model_store.catalog import Catalog, Entry, State
from linnaeus.server.model_store.loader import Beside, Loader, log_ready
from linnaeus.server.model_store.repository import ModelFolder, Stamp, VersionFolder
from linnaeus.server.model_store.version_switch import Traffic
from linnaeus.server.requests.lane import Lane
from linnaeus.server.requests.observer import Observer

logger = logging.getLogger(__name__)

_NOT_WANTED = "versions in config.toml does not ask for it"
_GONE = "its folder is gone"


class Asked(Enum):
    """What is to be loaded beyond what has changed: nothing, what is wanted and not served, or all that is wanted."""

    NOTHING = "nothing"
    MISSING = "missing"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What a version was last loaded from, or tried to be."""

    stamp: Stamp
    chosen: ModelSettings

    def is_like(self, other: "_Attempt") -> bool:
        return self.stamp == other.stamp and self.chosen.runs_like(other.chosen)


@dataclass(slots=True)
class _Known:
    """What was done about one model.

    Attributes:
        stamps, config_stamp: of the folder that was last settled.
        tried: what each version was last loaded from, refused or not.
        refused: versions whose last load was refused.
        put_out: versions that somebody unloaded.
        configured_default: what config.toml says.
        default: what somebody said; wins.
        labels: what config.toml says.
    """

    stamps: dict[int, Stamp] = field(default_factory=dict)
    config_stamp: Stamp = ()
    tried: dict[int, _Attempt] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    put_out: set[int] = field(default_factory=set)
    configured_default: str = ""
    default: str = ""
    labels: dict[str, int] = field(default_factory=dict)


class Settling:
    """Knows of each model what was done about it last.

    Args:
        settings: the server's.
        catalog: says what is served.
        traffic, loader: do the work.
        observer: hears of failures.
    """

    def __init__(
        self, settings: Settings, catalog: Catalog, traffic: Traffic, loader: Loader, observer: Observer
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._traffic = traffic
        self._loader = loader
        self._observer = observer
        self._known: dict[str, _Known] = {}

    def announce(self, folder: ModelFolder, state: State, reason: str = "") -> None:
        """Says of all versions in a folder how they stand before anything is done about them."""
        for version in folder.versions:
            self._catalog.put(Entry(folder.name, version, state, reason))

    def differs(self, model: str, folder: ModelFolder | None) -> bool:
        """Whether the folder is another one than was last settled; None if there is none."""
        if folder is None or not folder.versions:
            return self._catalog.knows(model)
        known = self._known.get(model)
        return known is None or (known.config_stamp, known.stamps) != (folder.config_stamp, _stamps(folder))

    async def settle(self, model: str, folder: ModelFolder | None, asked: Asked) -> dict[str, str]:
        """Loads what is to be served, then unloads what is not.

        Args:
            model: its name.
            folder: as it is now; None if it is gone.
            asked: what to load beyond what has changed.

        Returns:
            What was refused just now, with the reasons.
        """
        if folder is None or not folder.versions:
            await self._forget(model)
            return {}
        known = self._known.setdefault(model, _Known())
        known.stamps, known.config_stamp = _stamps(folder), folder.config_stamp
        try:
            chosen = await asyncio.to_thread(model_settings, folder.path, self._settings)
        except ModelRefused as error:
            return self._refuse_settings(folder, str(error))
        if asked is not Asked.NOTHING:
            known.put_out.clear()
        known.labels, known.configured_default = dict(chosen.labels), chosen.default_version
        if not self._ready(model):
            self._name_versions(model)  # who asks by a label meanwhile is to be told that it is loading
        return await self._settle(folder, chosen, asked, known)

    async def unload(self, model: str, version: int | None, reason: str) -> None:
        """Serves a version, or all if it is None, no longer, and does not load it unless asked to."""
        known = self._known.setdefault(model, _Known())
        versions = set(self._catalog.versions(model)) if version is None else {version}
        known.put_out |= versions
        for each in sorted(versions):
            await self._unload(model, each, reason)

    def choose_default(self, model: str, version: str) -> None:
        """Says which version answers requests that name none; empty for what config.toml says."""
        self._known.setdefault(model, _Known()).default = version
        self._name_versions(model)

    async def _settle(self, folder: ModelFolder, chosen: ModelSettings, asked: Asked, known: _Known) -> dict[str, str]:
        policy = chosen.versions
        refusals: dict[str, str] = {}
        wanted: set[int] = set()
        for version in policy.candidates(set(folder.versions) - known.put_out):
            if policy.is_enough(len(wanted & self._ready(folder.name))):
                break
            wanted.add(version)
            reason = await self._load_if_need_be(folder.versions[version], chosen, asked, known)
            if reason:
                refusals[f"{folder.name}/{version}"] = reason
        for version in policy.missing(folder.versions):
            refusals[f"{folder.name}/{version}"] = self._miss(folder.name, version)
        self._name_versions(folder.name)
        await self._unload_unwanted(folder, wanted, is_all=not policy.missing(folder.versions), known=known)
        self._tell_unserved_names(folder.name)
        return refusals

    async def _load_if_need_be(self, folder: VersionFolder, chosen: ModelSettings, asked: Asked, known: _Known) -> str:
        """Returns why the version was refused; empty if it was not, or nothing was to be done."""
        attempt, tried = _Attempt(folder.stamp, chosen), known.tried.get(folder.version)
        state = self._state(folder.model, folder.version)
        is_new = tried is None or not attempt.is_like(tried) or state not in (State.READY, State.FAILED)
        is_missing = asked is not Asked.NOTHING and folder.version in known.refused
        if not (is_new or is_missing or asked is Asked.ALL):
            self._clear_reason(folder.model, folder.version, known)
            return ""
        known.tried[folder.version] = attempt
        known.refused.add(folder.version)
        try:
            await self._load(folder, chosen)
        except ModelRefused as error:
            self._refuse(folder.model, folder.version, str(error))
            self._observer.load_failed(folder.model)
            return str(error)
        known.refused.discard(folder.version)
        return ""

    async def _load(self, folder: VersionFolder, chosen: ModelSettings) -> None:
        """Loads a version and moves its calls there.

        Raises:
            ModelRefused: it was refused, and nothing has changed.
        """
        lane, beside = self._beside(folder)
        if lane is None:
            self._catalog.put(Entry(folder.model, folder.version, State.LOADING))
        loaded = await self._loader.load(folder, chosen, beside)
        await self._traffic.replace(lane, loaded)
        log_ready(loaded)

    def _beside(self, folder: VersionFolder) -> tuple[Lane | None, Beside]:
        """What a version is to replace, if it is served, and what it is loaded beside."""
        busy, old = self._is_busy(), self._entry(folder.model, folder.version)
        if old is None or old.manifest is None:
            return None, Beside(busy)
        return old.lane, Beside(busy, old.manifest.sha256, old.max_batch_size)

    async def _unload_unwanted(self, folder: ModelFolder, wanted: set[int], is_all: bool, known: _Known) -> None:
        """Unloads what is not wanted, but for what must go on because nothing that is wanted can be served."""
        nothing_else = (wanted or not is_all) and not wanted & self._ready(folder.name)
        for version in sorted(set(self._catalog.versions(folder.name)) - wanted):
            if version not in folder.versions:
                await self._unload(folder.name, version, _GONE)
                self._catalog.remove(folder.name, version)
                known.put_out.discard(version)
            elif nothing_else and version in self._ready(folder.name):
                logger.warning("model %s/%d goes on, for no version that is wanted can be served", folder.name, version)
            elif version not in known.put_out:
                await self._unload(folder.name, version, _NOT_WANTED)

    async def _forget(self, model: str) -> None:
        """The folder is gone."""
        for version in list(self._catalog.versions(model)):  # the entries themselves hold models
            await self._unload(model, version, _GONE)
            self._catalog.remove(model, version)
        self._known.pop(model, None)

    async def _unload(self, model: str, version: int, reason: str) -> None:
        entry = self._entry(model, version)
        if entry is not None and entry.state is State.READY:
            lane = entry.lane
            del entry
            await self._traffic.remove(lane, reason)
            logger.info("model %s/%d is unloaded: %s", model, version, reason)
        else:
            self._catalog.put(Entry(model, version, State.UNLOADED, reason))
        known = self._known.setdefault(model, _Known())
        known.tried.pop(version, None)
        known.refused.discard(version)

    def _refuse_settings(self, folder: ModelFolder, reason: str) -> dict[str, str]:
        for version in folder.versions:
            if self._state(folder.name, version) is not State.UNLOADED:
                self._refuse(folder.name, version, reason)
            if self._state(folder.name, version) is not State.READY:
                self._known[folder.name].tried.pop(version, None)
        self._observer.load_failed(folder.name)
        return {f"{folder.name}/{CONFIG_FILE}": reason}

    def _refuse(self, model: str, version: int, reason: str) -> None:
        """Notes why a version was refused; one that is served goes on."""
        entry = self._entry(model, version)
        if entry is not None and entry.state is State.READY:
            logger.error("model %s/%d is served as before, for its reload is refused: %s", model, version, reason)
            self._catalog.put(replace(entry, reason=f"served as before, for its reload was refused: {reason}"))
        else:
            logger.error("model %s/%d is refused: %s", model, version, reason)
            self._catalog.put(Entry(model, version, State.FAILED, reason))

    def _miss(self, model: str, version: int) -> str:
        reason = f"{CONFIG_FILE}: versions lists {version}, which the repository does not hold"
        logger.error("model %s: %s", model, reason)
        self._observer.load_failed(model)
        return reason

    def _clear_reason(self, model: str, version: int, known: _Known) -> None:
        """What was wrong with the settings of a version that goes on is over."""
        entry = self._entry(model, version)
        if entry is not None and entry.state is State.READY and entry.reason and version not in known.refused:
            self._catalog.put(replace(entry, reason=""))

    def _name_versions(self, model: str) -> None:
        known = self._known[model]
        self._catalog.name_versions(model, known.labels, known.default or known.configured_default)

    def _tell_unserved_names(self, model: str) -> None:
        known, ready = self._known[model], self._ready(model)
        for label, version in known.labels.items():
            if version not in ready:
                logger.error("label %s of model %s names version %d, which is not served", label, model, version)
        default = known.default or known.configured_default
        if default and not (ready & {known.labels.get(default), int(default) if default.isdecimal() else None}):
            logger.error("default version %s of model %s is not served; the highest that is ready is", default, model)

    def _ready(self, model: str) -> set[int]:
        return {number for number, each in self._catalog.versions(model).items() if each.state is State.READY}

    def _is_busy(self) -> bool:
        return any(entry.state is State.READY for entry in self._catalog.entries())

    def _entry(self, model: str, version: int) -> Entry | None:
        return self._catalog.versions(model).get(version)

    def _state(self, model: str, version: int) -> State | None:
        entry = self._entry(model, version)
        return entry.state if entry else None


def _stamps(folder: ModelFolder) -> dict[int, Stamp]:
    return {version: each.stamp for version, each in folder.versions.items()}
