"""What is wanted, and when it is loaded: at the start, when somebody asks for it, and when the repository changes.

Belongs to the event loop's thread. It must not know how models are loaded (`loader`) or how calls get to them
(`version_switch`), nor who asks.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import InvalidArgument, ModelNotFound, NotLoaded, StartupError, Unavailable
from linnaeus.server.model_store import repository
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.model_store.loader import Loader
from linnaeus.server.model_store.reconciler import LoadScope, Reconciler
from linnaeus.server.model_store.repository import ModelFolder
from linnaeus.server.model_store.version_switch import VersionSwitch
from linnaeus.server.requests.observer import Observer

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_STOPPING_RETRY_SECONDS = 1.0
_UNLOADED = "it was unloaded; load it to have it served"
_NOT_REQUESTED = "nobody has asked for it; load it to have it served"


class ModelManager:
    """Loads, unloads and reloads models while others are served.

    Invariants:
        1. Of one model, one thing is done at a time, in the order of asking; of all models, one version is loaded at a
           time.
        2. What was begun ends whole, also if whoever asked for it has left.
        3. A load that fails changes nothing of what is served; the catalog, the log and the observer have the reason.
        4. Who asks for what is there already is told how it stands, and nothing is loaded.

    What is asked for here is forgotten with the server; config.toml is not.

    Args:
        settings: the server's.
        catalog: says what there is.
        version_switch, loader: do the work.
        observer: hears of failures.
        changed: called when other versions are served than before.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        version_switch: VersionSwitch,
        loader: Loader,
        observer: Observer,
        changed: Callable[[], None],
    ) -> None:
        self._root = settings.repository
        self._wanted = settings.wanted_models
        self._is_explicit = settings.model_control == "explicit"
        self._catalog = catalog
        self._reconciler = Reconciler(settings, catalog, version_switch, loader, observer)
        self._changed = changed
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._requested: set[str] = set()
        self._unloaded: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def start(self) -> None:
        """Loads what is to be served from the start, one version after the other; a refused one stops no other.

        Raises:
            StartupError: the repository is missing or empty, or a model that `--models` names is not in it.
        """
        for folder in self._folders_at_start():
            self._requested.add(folder.name)
            self._reconciler.register(folder, ModelState.LOADING)
        for name in sorted(self._requested):
            await self._reconcile(name, LoadScope.CHANGED)

    async def load_model(self, model: str) -> list[Entry]:
        """Loads the versions of a model that its config.toml wants, tries refused ones again, and says how all stand.

        Raises:
            ModelNotFound: the repository has no such model, or no version of it.
            NotLoaded: a version was refused.
            Unavailable: the server is stopping.
        """
        return await self._run_to_end(self._load(model, LoadScope.MISSING))

    async def reload_model(self, model: str) -> list[Entry]:
        """As `load_model`, but versions that are served are loaded anew beside themselves, too.

        Raises:
            ModelNotFound, NotLoaded, Unavailable: as there.
        """
        return await self._run_to_end(self._load(model, LoadScope.ALL))

    async def unload_model(self, model: str, version: str = "") -> list[Entry]:
        """Serves a model's version, or all of them, no longer; returns once their calls are answered.

        They are not loaded again before somebody asks for it.

        Raises:
            ModelNotFound: no such model, version or label.
            InvalidArgument: what is given can be no version.
            Unavailable: the server is stopping.
        """
        return await self._run_to_end(self._unload(model, version))

    def set_default_version(self, model: str, version: str) -> Entry:
        """Says which version answers requests that name none; returns it.

        Args:
            model: its name.
            version: a number or a label, which is followed where it moves; empty for what config.toml says, or the
                highest that is ready.

        Raises:
            ModelNotFound, InvalidArgument, Unavailable: it names no version that is ready.
        """
        find = self._catalog.resolve if version else self._catalog.find
        find(_require_name(model), version)
        self._reconciler.choose_default(model, version)
        return self._catalog.find(model, "")

    async def reconcile_changes(self) -> None:
        """Looks at the repository once, and does what follows from its changes.

        Raises:
            OSError: the repository cannot be read; nothing was done.
        """
        there = await asyncio.to_thread(repository.list_model_folders, self._root)
        if not any(folder.versions for folder in there.values()) and self._requested:
            raise OSError(f"{self._root} is empty, as if it were not mounted")
        names = self._requested if self._wanted or self._is_explicit else self._requested | set(there)
        for name in sorted(names):
            if name in self._unloaded and name in there:
                continue  # somebody unloaded it
            if self._reconciler.has_changed(name, there.get(name)):
                await self._run_to_end(self._reconcile(name, LoadScope.CHANGED))

    def close(self) -> None:
        """Begins nothing more; the version being loaded is finished."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def _folders_at_start(self) -> list[ModelFolder]:
        if not self._is_explicit:
            return repository.scan(self._root, self._wanted)
        if not self._root.is_dir():
            raise StartupError(f"the model repository {self._root} is not a folder")
        for folder in repository.list_model_folders(self._root).values():
            self._reconciler.register(folder, ModelState.UNLOADED, _NOT_REQUESTED)
        return repository.scan(self._root, self._wanted) if self._wanted else []

    async def _load(self, model: str, scope: LoadScope) -> list[Entry]:
        folder = (await asyncio.to_thread(repository.list_model_folders, self._root)).get(_require_name(model))
        if folder is None or not folder.versions:
            there = "no version of model" if folder else "no model"
            raise ModelNotFound(model[:80], f"the repository has {there} {model[:80]!r}; see what its folder holds")
        self._requested.add(model)
        self._unloaded.discard(model)
        refusals = await self._reconcile(model, scope)
        if refusals:
            reasons = "; ".join(f"{subject}: {reason}" for subject, reason in refusals.items())
            raise NotLoaded(f"refused, and what was served before is served still: {reasons}", refusals)
        return list(self._catalog.versions(model).values())

    async def _unload(self, model: str, version: str) -> list[Entry]:
        self._catalog.find(_require_name(model), version)  # no lock is made for a name that means nothing
        async with self._locks[model]:
            number = self._catalog.find(model, version).version if version else None
            if number is None:
                self._unloaded.add(model)
            await self._reconciler.unload(model, number, _UNLOADED)
        self._changed()
        return list(self._catalog.versions(model).values())

    async def _reconcile(self, model: str, scope: LoadScope) -> dict[str, str]:
        async with self._locks[model]:
            # Looked at again: what was here when it was asked for may have been waited for.
            folder = (await asyncio.to_thread(repository.list_model_folders, self._root)).get(model)
            refusals = await self._reconciler.reconcile(model, folder, scope)
        self._changed()
        return refusals

    async def _run_to_end(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Does it to the end, whatever becomes of the caller."""
        if self._closed:
            work.close()
            raise _stopping_error()
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise _stopping_error() from None
            raise

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have left


def _stopping_error() -> Unavailable:
    return Unavailable("the server is stopping; try another one", _STOPPING_RETRY_SECONDS)


def _require_name(model: str) -> str:
    """The name that was given.

    Raises:
        InvalidArgument: there is none.
    """
    if not model:
        raise InvalidArgument("model", "model is empty, but must name the model")
    return model
