"""Reconciles the served versions of a model with its folder and its config.toml.

Belongs to the event loop's thread. `model_manager` serialises the calls for each model.

No frame of this module may refer to an entry while it awaits the end of that version: the entry refers to the model,
whose memory must be free by then.
"""

import logging
from enum import Enum
from functools import partial

from linnaeus.server.config.model_settings import CONFIG_FILE, ModelSettings, model_settings
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import ModelRefused
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.model_store.loader import LoadContext, Loader, log_ready
from linnaeus.server.model_store.model_folders import ModelFolder, VersionFolder
from linnaeus.server.model_store.reconciled_model import Attempt, ReconciledModel
from linnaeus.server.model_store.version_refusals import VersionRefusals, log_unserved_names
from linnaeus.server.model_store.version_switch import VersionSwitch
from linnaeus.server.process.daemon_threads import run_in_thread
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.observer import Observer

logger = logging.getLogger(__name__)

_NOT_WANTED = "versions in config.toml does not ask for it"
_FOLDER_REMOVED = "its folder is gone"


class LoadScope(Enum):
    """The versions that a reconciliation loads, of those that config.toml selects.

    CHANGED: those that changed. MISSING: also those that were refused or unloaded. ALL: also those that are served.
    """

    CHANGED = "changed"
    MISSING = "missing"
    ALL = "all"


class Reconciler:
    """Loads and unloads versions until the served ones match the repository. Belongs to the event loop's thread.

    Keeps, for each model, the state after its last reconciliation.

    Args:
        settings: the server's settings.
        catalog: the model versions and their states.
        version_switch: puts versions into service and takes them out of it.
        loader: loads versions.
        observer: receives failed loads.
    """

    def __init__(
        self, settings: Settings, catalog: Catalog, version_switch: VersionSwitch, loader: Loader, observer: Observer
    ) -> None:
        self._server_settings = settings
        self._catalog = catalog
        self._version_switch = version_switch
        self._loader = loader
        self._observer = observer
        self._refusals = VersionRefusals(catalog, observer)
        self._reconciled: dict[str, ReconciledModel] = {}

    def register(self, folder: ModelFolder, state: ModelState, reason: str = "") -> None:
        """Adds all versions of a folder to the catalog in an initial state."""
        for version in folder.versions:
            self._catalog.put(Entry(folder.name, version, state, reason))

    def notice(self, model: str, folder: ModelFolder | None) -> bool:
        """Takes a scan of a model's folder, None if it does not exist; returns whether to reconcile the model now."""
        if folder is None or not folder.versions:
            return self._catalog.knows(model)
        reconciled = self._reconciled.get(model)
        return reconciled is None or reconciled.notice(folder)

    async def reconcile(self, model: str, folder: ModelFolder | None, scope: LoadScope) -> dict[str, str]:
        """Loads the versions that are wanted, then unloads those that are not.

        Args:
            model: name of the model.
            folder: the current folder of the model; None if it does not exist.
            scope: which versions to load.

        Returns:
            The reasons of the versions refused by this call, by `model/version` or `model/config.toml`.
        """
        if folder is None or not folder.versions:
            await self._remove_model(model)
            return {}
        reconciled = self._reconciled.setdefault(model, ReconciledModel())
        reconciled.begin(folder)
        try:
            settings = await run_in_thread(
                "linnaeus-settings", partial(model_settings, folder.path, self._server_settings)
            )
        except ModelRefused as error:
            return self._refuse_settings(folder, str(error))
        if scope is not LoadScope.CHANGED:
            reconciled.unloaded.clear()
        reconciled.labels, reconciled.configured_default = dict(settings.labels), settings.default_version
        if not self._ready(model):
            self._name_versions(model)  # so that requests by label get "is loading" meanwhile
        return await self._reconcile(folder, settings, scope, reconciled)

    async def unload(self, model: str, version: int | None, reason: str) -> None:
        """Unloads a version, or all if None; it stays unloaded until a reconciliation of scope MISSING or ALL."""
        reconciled = self._reconciled.setdefault(model, ReconciledModel())
        versions = set(self._catalog.versions(model)) if version is None else {version}
        reconciled.unloaded |= versions
        for each in sorted(versions):
            await self._unload(model, each, reason)

    def choose_default(self, model: str, version: str) -> None:
        """Sets the default version of a model; empty for the default of config.toml."""
        self._reconciled.setdefault(model, ReconciledModel()).default = version
        self._name_versions(model)

    async def _reconcile(
        self, folder: ModelFolder, settings: ModelSettings, scope: LoadScope, reconciled: ReconciledModel
    ) -> dict[str, str]:
        policy = settings.versions
        refusals: dict[str, str] = {}
        wanted: set[int] = set()
        for version in policy.candidates(set(folder.versions) - reconciled.unloaded):
            if policy.is_enough(len(wanted & self._ready(folder.name))):
                break
            wanted.add(version)
            reason = await self._load_if_needed(folder.versions[version], settings, scope, reconciled)
            if reason:
                refusals[f"{folder.name}/{version}"] = reason
        for version in policy.missing(folder.versions):
            refusals[f"{folder.name}/{version}"] = self._refusals.refuse_missing(folder.name, version)
        self._name_versions(folder.name)
        await self._unload_unwanted(folder, wanted, is_all=not policy.missing(folder.versions), reconciled=reconciled)
        log_unserved_names(folder.name, self._reconciled[folder.name], self._ready(folder.name))
        return refusals

    async def _load_if_needed(
        self, folder: VersionFolder, settings: ModelSettings, scope: LoadScope, reconciled: ReconciledModel
    ) -> str:
        """Loads a version if the scope includes it; returns why it was refused, or an empty string."""
        attempt, previous = Attempt(folder.fingerprint, settings), reconciled.attempts.get(folder.version)
        state = self._state(folder.model, folder.version)
        is_new = previous is None or not attempt.is_like(previous) or state not in (ModelState.READY, ModelState.FAILED)
        is_missing = scope is not LoadScope.CHANGED and folder.version in reconciled.refused
        if not (is_new or is_missing or scope is LoadScope.ALL):
            self._refusals.clear_reason(folder.model, folder.version, reconciled)
            return ""
        reconciled.attempts[folder.version] = attempt
        reconciled.refused.add(folder.version)
        try:
            await self._load(folder, settings)
        except ModelRefused as error:
            reason = str(error)
            is_known = scope is LoadScope.CHANGED and reconciled.reported.get(folder.version) == reason
            reconciled.reported[folder.version] = reason
            self._refusals.refuse(folder.model, folder.version, reason, logging.DEBUG if is_known else logging.ERROR)
            self._observer.load_failed(folder.model)
            return reason
        reconciled.refused.discard(folder.version)
        reconciled.reported.pop(folder.version, None)
        return ""

    async def _load(self, folder: VersionFolder, settings: ModelSettings) -> None:
        """Loads a version and puts it into service.

        Raises:
            ModelRefused: if it is refused; a version that is served stays in service.
        """
        if folder.rivals:
            names = ", ".join(map(repr, (folder.path.name, *folder.rivals)))
            raise ModelRefused(f"the folders {names} are all version {folder.version}; keep one of them")
        lane, context = self._load_context(folder)
        if lane is None:
            self._catalog.put(Entry(folder.model, folder.version, ModelState.LOADING))
        loaded = await self._loader.load(folder, settings, context)
        await self._version_switch.replace(lane, loaded)
        log_ready(loaded)

    def _load_context(self, folder: VersionFolder) -> tuple[LaneKey | None, LoadContext]:
        """Returns the lane that a load replaces, None if the version is not served, and the load's context."""
        busy, old = self._is_busy(), self._entry(folder.model, folder.version)
        if old is None or old.manifest is None:
            return None, LoadContext(busy)
        return old.lane, LoadContext(busy, old.manifest.sha256, old.max_batch_size)

    async def _unload_unwanted(
        self, folder: ModelFolder, wanted: set[int], is_all: bool, reconciled: ReconciledModel
    ) -> None:
        """Unloads the versions that are not wanted; keeps those that are ready if no wanted version is.

        Args:
            folder: folder of the model.
            wanted: versions in the repository that config.toml selects.
            is_all: whether the repository has all versions that config.toml lists.
            reconciled: state of the model.
        """
        must_keep_ready = (wanted or not is_all) and not wanted & self._ready(folder.name)
        for version in sorted((self._catalog.versions(folder.name).keys() | folder.versions.keys()) - wanted):
            if version not in folder.versions:
                await self._unload(folder.name, version, _FOLDER_REMOVED)
                self._catalog.remove(folder.name, version)
                reconciled.unloaded.discard(version)
            elif must_keep_ready and version in self._ready(folder.name):
                logger.warning("model %s/%d goes on, for no version that is wanted can be served", folder.name, version)
            elif version not in reconciled.unloaded:
                await self._unload(folder.name, version, _NOT_WANTED)

    async def _remove_model(self, model: str) -> None:
        """Unloads all versions of a model whose folder was removed."""
        for version in list(self._catalog.versions(model)):  # numbers only: entries refer to models
            await self._unload(model, version, _FOLDER_REMOVED)
            self._catalog.remove(model, version)
        self._reconciled.pop(model, None)

    async def _unload(self, model: str, version: int, reason: str) -> None:
        entry = self._entry(model, version)
        if entry is not None and entry.state is ModelState.READY:
            lane = entry.lane
            del entry
            await self._version_switch.remove(lane, reason)
            logger.info("model %s/%d is unloaded: %s", model, version, reason)
        else:
            self._catalog.put(Entry(model, version, ModelState.UNLOADED, reason))
        reconciled = self._reconciled.setdefault(model, ReconciledModel())
        reconciled.attempts.pop(version, None)
        reconciled.refused.discard(version)

    def _refuse_settings(self, folder: ModelFolder, reason: str) -> dict[str, str]:
        for version in folder.versions:
            if self._state(folder.name, version) is not ModelState.UNLOADED:
                self._refusals.refuse(folder.name, version, reason)
            if self._state(folder.name, version) is not ModelState.READY:
                self._reconciled[folder.name].attempts.pop(version, None)
        self._observer.load_failed(folder.name)
        return {f"{folder.name}/{CONFIG_FILE}": reason}

    def _name_versions(self, model: str) -> None:
        reconciled = self._reconciled[model]
        self._catalog.name_versions(model, reconciled.labels, reconciled.default or reconciled.configured_default)

    def _ready(self, model: str) -> set[int]:
        return {number for number, each in self._catalog.versions(model).items() if each.state is ModelState.READY}

    def _is_busy(self) -> bool:
        return any(entry.state is ModelState.READY for entry in self._catalog.entries())

    def _entry(self, model: str, version: int) -> Entry | None:
        return self._catalog.versions(model).get(version)

    def _state(self, model: str, version: int) -> ModelState | None:
        entry = self._entry(model, version)
        return entry.state if entry else None
