"""Makes what is served of one model what its folder and its config.toml say; decides what has to be loaded for that.

Belongs to the event loop's thread. Of one model, one call at a time: `model_manager` sees to that.

No frame here keeps an entry over a wait for its version's end: it holds the model, whose memory is to be free by then.
"""

import asyncio
import logging
from enum import Enum

from linnaeus.server.config.model_settings import CONFIG_FILE, ModelSettings, model_settings
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import ModelRefused
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.model_store.loader import LoadContext, Loader, log_ready
from linnaeus.server.model_store.reconciled_model import Attempt, ReconciledModel, fingerprints_of
from linnaeus.server.model_store.repository import ModelFolder, VersionFolder
from linnaeus.server.model_store.version_refusals import VersionRefusals, log_unserved_names
from linnaeus.server.model_store.version_switch import VersionSwitch
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.observer import Observer

logger = logging.getLogger(__name__)

_NOT_WANTED = "versions in config.toml does not ask for it"
_FOLDER_REMOVED = "its folder is gone"


class LoadScope(Enum):
    """What a reconciliation loads: what has changed, also what is wanted and not served, or all that is wanted."""

    CHANGED = "changed"
    MISSING = "missing"
    ALL = "all"


class Reconciler:
    """Knows of each model what was done about it last.

    Args:
        settings: the server's.
        catalog: says what is served.
        version_switch, loader: do the work.
        observer: hears of failures.
    """

    def __init__(
        self, settings: Settings, catalog: Catalog, version_switch: VersionSwitch, loader: Loader, observer: Observer
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._version_switch = version_switch
        self._loader = loader
        self._observer = observer
        self._refusals = VersionRefusals(catalog, observer)
        self._known: dict[str, ReconciledModel] = {}

    def register(self, folder: ModelFolder, state: ModelState, reason: str = "") -> None:
        """Says of all versions in a folder how they stand before anything is done about them."""
        for version in folder.versions:
            self._catalog.put(Entry(folder.name, version, state, reason))

    def has_changed(self, model: str, folder: ModelFolder | None) -> bool:
        """Whether the folder is another one than was last reconciled; None if there is none."""
        if folder is None or not folder.versions:
            return self._catalog.knows(model)
        known = self._known.get(model)
        return known is None or (known.config_fingerprint, known.fingerprints) != (
            folder.config_fingerprint,
            fingerprints_of(folder),
        )

    async def reconcile(self, model: str, folder: ModelFolder | None, scope: LoadScope) -> dict[str, str]:
        """Loads what is to be served, then unloads what is not.

        Args:
            model: its name.
            folder: as it is now; None if it is gone.
            scope: what to load beyond what has changed.

        Returns:
            What was refused just now, with the reasons.
        """
        if folder is None or not folder.versions:
            await self._remove_model(model)
            return {}
        known = self._known.setdefault(model, ReconciledModel())
        known.fingerprints, known.config_fingerprint = fingerprints_of(folder), folder.config_fingerprint
        try:
            chosen = await asyncio.to_thread(model_settings, folder.path, self._settings)
        except ModelRefused as error:
            return self._refuse_settings(folder, str(error))
        if scope is not LoadScope.CHANGED:
            known.unloaded.clear()
        known.labels, known.configured_default = dict(chosen.labels), chosen.default_version
        if not self._ready(model):
            self._name_versions(model)  # who asks by a label meanwhile is to be told that it is loading
        return await self._reconcile(folder, chosen, scope, known)

    async def unload(self, model: str, version: int | None, reason: str) -> None:
        """Serves a version, or all if it is None, no longer, and does not load it unless asked to."""
        known = self._known.setdefault(model, ReconciledModel())
        versions = set(self._catalog.versions(model)) if version is None else {version}
        known.unloaded |= versions
        for each in sorted(versions):
            await self._unload(model, each, reason)

    def choose_default(self, model: str, version: str) -> None:
        """Says which version answers requests that name none; empty for what config.toml says."""
        self._known.setdefault(model, ReconciledModel()).default = version
        self._name_versions(model)

    async def _reconcile(
        self, folder: ModelFolder, chosen: ModelSettings, scope: LoadScope, known: ReconciledModel
    ) -> dict[str, str]:
        policy = chosen.versions
        refusals: dict[str, str] = {}
        wanted: set[int] = set()
        for version in policy.candidates(set(folder.versions) - known.unloaded):
            if policy.is_enough(len(wanted & self._ready(folder.name))):
                break
            wanted.add(version)
            reason = await self._load_if_needed(folder.versions[version], chosen, scope, known)
            if reason:
                refusals[f"{folder.name}/{version}"] = reason
        for version in policy.missing(folder.versions):
            refusals[f"{folder.name}/{version}"] = self._refusals.refuse_missing(folder.name, version)
        self._name_versions(folder.name)
        await self._unload_unwanted(folder, wanted, is_all=not policy.missing(folder.versions), known=known)
        log_unserved_names(folder.name, self._known[folder.name], self._ready(folder.name))
        return refusals

    async def _load_if_needed(
        self, folder: VersionFolder, chosen: ModelSettings, scope: LoadScope, known: ReconciledModel
    ) -> str:
        """Returns why the version was refused; empty if it was not, or nothing was to be done."""
        attempt, tried = Attempt(folder.fingerprint, chosen), known.attempts.get(folder.version)
        state = self._state(folder.model, folder.version)
        is_new = tried is None or not attempt.is_like(tried) or state not in (ModelState.READY, ModelState.FAILED)
        is_missing = scope is not LoadScope.CHANGED and folder.version in known.refused
        if not (is_new or is_missing or scope is LoadScope.ALL):
            self._refusals.clear_reason(folder.model, folder.version, known)
            return ""
        known.attempts[folder.version] = attempt
        known.refused.add(folder.version)
        try:
            await self._load(folder, chosen)
        except ModelRefused as error:
            self._refusals.refuse(folder.model, folder.version, str(error))
            self._observer.load_failed(folder.model)
            return str(error)
        known.refused.discard(folder.version)
        return ""

    async def _load(self, folder: VersionFolder, chosen: ModelSettings) -> None:
        """Loads a version and moves its calls there.

        Raises:
            ModelRefused: it was refused, and nothing has changed.
        """
        lane, context = self._load_context(folder)
        if lane is None:
            self._catalog.put(Entry(folder.model, folder.version, ModelState.LOADING))
        loaded = await self._loader.load(folder, chosen, context)
        await self._version_switch.replace(lane, loaded)
        log_ready(loaded)

    def _load_context(self, folder: VersionFolder) -> tuple[LaneKey | None, LoadContext]:
        """What a version is to replace, if it is served, and what it is loaded beside."""
        busy, old = self._is_busy(), self._entry(folder.model, folder.version)
        if old is None or old.manifest is None:
            return None, LoadContext(busy)
        return old.lane, LoadContext(busy, old.manifest.sha256, old.max_batch_size)

    async def _unload_unwanted(
        self, folder: ModelFolder, wanted: set[int], is_all: bool, known: ReconciledModel
    ) -> None:
        """Unloads what is not wanted, but for what must go on because nothing that is wanted can be served."""
        nothing_else = (wanted or not is_all) and not wanted & self._ready(folder.name)
        for version in sorted(set(self._catalog.versions(folder.name)) - wanted):
            if version not in folder.versions:
                await self._unload(folder.name, version, _FOLDER_REMOVED)
                self._catalog.remove(folder.name, version)
                known.unloaded.discard(version)
            elif nothing_else and version in self._ready(folder.name):
                logger.warning("model %s/%d goes on, for no version that is wanted can be served", folder.name, version)
            elif version not in known.unloaded:
                await self._unload(folder.name, version, _NOT_WANTED)

    async def _remove_model(self, model: str) -> None:
        """The folder is gone."""
        for version in list(self._catalog.versions(model)):  # the entries themselves hold models
            await self._unload(model, version, _FOLDER_REMOVED)
            self._catalog.remove(model, version)
        self._known.pop(model, None)

    async def _unload(self, model: str, version: int, reason: str) -> None:
        entry = self._entry(model, version)
        if entry is not None and entry.state is ModelState.READY:
            lane = entry.lane
            del entry
            await self._version_switch.remove(lane, reason)
            logger.info("model %s/%d is unloaded: %s", model, version, reason)
        else:
            self._catalog.put(Entry(model, version, ModelState.UNLOADED, reason))
        known = self._known.setdefault(model, ReconciledModel())
        known.attempts.pop(version, None)
        known.refused.discard(version)

    def _refuse_settings(self, folder: ModelFolder, reason: str) -> dict[str, str]:
        for version in folder.versions:
            if self._state(folder.name, version) is not ModelState.UNLOADED:
                self._refusals.refuse(folder.name, version, reason)
            if self._state(folder.name, version) is not ModelState.READY:
                self._known[folder.name].attempts.pop(version, None)
        self._observer.load_failed(folder.name)
        return {f"{folder.name}/{CONFIG_FILE}": reason}

    def _name_versions(self, model: str) -> None:
        known = self._known[model]
        self._catalog.name_versions(model, known.labels, known.default or known.configured_default)

    def _ready(self, model: str) -> set[int]:
        return {number for number, each in self._catalog.versions(model).items() if each.state is ModelState.READY}

    def _is_busy(self) -> bool:
        return any(entry.state is ModelState.READY for entry in self._catalog.entries())

    def _entry(self, model: str, version: int) -> Entry | None:
        return self._catalog.versions(model).get(version)

    def _state(self, model: str, version: int) -> ModelState | None:
        entry = self._entry(model, version)
        return entry.state if entry else None
