"""Decides when models are loaded and unloaded: at start, on an operator's request, and when the repository changes.

Belongs to the event loop's thread. This module must not know how models are loaded (`loader`), how they are put into
service (`version_switch`), or gRPC.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import (
    InvalidArgument,
    ModelNotFound,
    NotLoaded,
    RequestError,
    Unavailable,
)
from linnaeus.server.model_store import not_found
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.model_store.ignored_folders import IgnoredFolders
from linnaeus.server.model_store.loader import Loader
from linnaeus.server.model_store.model_folders import ModelFolder
from linnaeus.server.model_store.reconciler import LoadScope, Reconciler
from linnaeus.server.model_store.repository import ModelRepository, list_at_start, wanted_at_start
from linnaeus.server.model_store.version_switch import VersionSwitch
from linnaeus.server.process.daemon_threads import run_in_thread
from linnaeus.server.process.supervisor import ESCAPES, Supervisor
from linnaeus.server.requests.observer import Observer

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# The name of operations on models in reports of faults.
MANAGER_PART = "model_manager"

_STOPPING_RETRY_SECONDS = 1.0
_UNREACHABLE_RETRY_SECONDS = 5.0
_UNLOADED = "by an operator's request; load it to have it served"
_NOT_REQUESTED = "nobody has asked for it; load it to have it served"


class ModelManager:
    """Loads, unloads and reloads models while others are served. Belongs to the event loop's thread.

    Invariants:
        1. Operations on one model run one at a time, in the order of the calls. Only one version of all models is
           loaded at a time.
        2. An operation that was started is completed, even if its caller cancels.
        3. A failed load does not change what is served; the reason goes to the catalog, the log and the observer.
        4. `load_model` loads nothing if the wanted versions are served already.

    Operators' requests are lost when the server ends; config.toml persists.

    Args:
        settings: the server's settings.
        repository: has the models.
        catalog: the model versions and their states.
        version_switch: puts versions into service and takes them out of it.
        loader: loads versions.
        observer: receives failed loads.
        supervisor: receives faults of operations whose caller left.
        on_change: called after each operation that may have changed the served versions.
    """

    def __init__(
        self,
        settings: Settings,
        repository: ModelRepository,
        catalog: Catalog,
        version_switch: VersionSwitch,
        loader: Loader,
        observer: Observer,
        supervisor: Supervisor,
        on_change: Callable[[], None],
    ) -> None:
        self._repository = repository
        self._wanted = settings.wanted_models
        self._default_model = settings.default_model
        self._is_explicit = settings.model_control == "explicit"
        self._catalog = catalog
        self._reconciler = Reconciler(settings, catalog, version_switch, loader, observer)
        self._supervisor = supervisor
        self._on_change = on_change
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._requested: set[str] = set()
        self._unloaded: set[str] = set()
        self._ignored = IgnoredFolders()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def start(self) -> None:
        """Loads the initial versions, one at a time; neither a refused version nor a fault stops the others.

        Raises:
            StartupError: if the repository is missing or empty, or does not have a model that `--models` or
                `--default-model` names.
        """
        for folder in self._folders_at_start():
            self._requested.add(folder.name)
            self._reconciler.register(folder, ModelState.LOADING)
        for name in sorted(self._requested):
            try:
                await self._reconcile(name, LoadScope.CHANGED)
            except ESCAPES as error:
                self._fail_loading(name, error)

    async def load_model(self, model: str) -> list[Entry]:
        """Loads the versions that a model's config.toml selects, except unchanged ones that are served.

        Returns:
            The entries of all versions of the model.

        Raises:
            ModelNotFound: if the repository does not have the model or has no version of it.
            NotLoaded: if a version was refused.
            Unavailable: if the server is stopping, or the model cannot be fetched.
        """
        return await self._run_to_end(self._load(model, LoadScope.MISSING))

    async def reload_model(self, model: str) -> list[Entry]:
        """Loads all selected versions like `load_model`, and replaces those that are served.

        Raises:
            ModelNotFound, NotLoaded, Unavailable: as in `load_model`.
        """
        return await self._run_to_end(self._load(model, LoadScope.ALL))

    async def unload_model(self, model: str, version: str = "") -> list[Entry]:
        """Unloads a version of a model; returns once its requests are answered.

        The version stays unloaded until `load_model` or `reload_model` is called.

        Args:
            model: name of the model.
            version: number or label of the version; empty for all versions.

        Returns:
            The entries of all versions of the model.

        Raises:
            ModelNotFound: if the model, version or label does not exist.
            InvalidArgument: if `version` is malformed.
            Unavailable: if the server is stopping.
        """
        return await self._run_to_end(self._unload(model, version))

    async def set_default_version(self, model: str, version: str) -> Entry:
        """Sets the version that answers requests that name none.

        Args:
            model: name of the model.
            version: number or label of the version; the default follows a label that moves. Empty for the default of
                config.toml, or else the highest version that is ready.

        Returns:
            The entry of the default version.

        Raises:
            ModelNotFound, InvalidArgument, Unavailable: if `version` does not name a version that is ready.
        """
        find = self._catalog.resolve if version else self._catalog.find
        find(_require_name(model), version)
        self._reconciler.choose_default(model, version)
        return self._catalog.find(model, "")

    async def reconcile_changes(self) -> None:
        """Scans the repository once and reconciles the models that changed.

        Raises:
            OSError: if the repository cannot be read, or is empty although models were loaded; nothing is done then.
        """
        folders = await self._list_folders()
        if not any(folder.versions for folder in folders.values()) and self._requested:
            raise OSError(f"{self._repository.name} is empty, as if it were not mounted")
        self._ignored.report(folders.values())
        names = self._requested if self._wanted or self._is_explicit else self._requested | set(folders)
        for name in sorted(names):
            if name in self._unloaded and name in folders:
                continue  # an operator unloaded it
            self._requested.add(name)  # also one that was found later is unloaded once its folder is gone
            if self._reconciler.notice(name, folders.get(name)):
                await self._run_to_end(self._reconcile(name, LoadScope.CHANGED))

    def close(self) -> None:
        """Cancels pending operations; a load that has started runs to its end on its thread."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def _folders_at_start(self) -> list[ModelFolder]:
        folders = list_at_start(self._repository, self._wanted, self._default_model)
        self._ignored.report(folders.values())
        if self._is_explicit:
            for folder in folders.values():
                self._reconciler.register(folder, ModelState.UNLOADED, _NOT_REQUESTED)
            if not self._wanted:
                return []
        return wanted_at_start(self._repository.name, folders, self._wanted)

    def _fail_loading(self, model: str, error: BaseException) -> None:
        """Reports a fault at the start of a model, and marks its versions that are not loaded as failed."""
        reference = self._supervisor.report(MANAGER_PART, error, f"loading {model}")
        reason = f"loading it failed, and the log says why (log reference {reference})"
        for version, entry in list(self._catalog.versions(model).items()):
            if entry.state is ModelState.LOADING:
                self._catalog.put(Entry(model, version, ModelState.FAILED, reason))

    async def _list_folders(self) -> dict[str, ModelFolder]:
        return await run_in_thread("linnaeus-scan", self._repository.folders)

    async def _fetch(self, model: str) -> None:
        try:
            await run_in_thread("linnaeus-fetch", partial(self._repository.fetch, model))
        except OSError as error:
            raise Unavailable(str(error), _UNREACHABLE_RETRY_SECONDS) from None

    async def _load(self, model: str, scope: LoadScope) -> list[Entry]:
        await self._fetch(_require_name(model))
        folder = (await self._list_folders()).get(model)
        if folder is None or not folder.versions:
            missing = "no version of model" if folder else "no model"
            message = f"the repository has {missing} {not_found.quoted(model)}; see what its folder holds"
            raise ModelNotFound(not_found.shortened(model), message)
        self._requested.add(model)
        self._unloaded.discard(model)
        refusals = await self._reconcile(model, scope)
        if refusals:
            reasons = "; ".join(f"{subject}: {reason}" for subject, reason in refusals.items())
            raise NotLoaded(f"refused, and what was served before is served still: {reasons}", refusals)
        return list(self._catalog.versions(model).values())

    async def _unload(self, model: str, version: str) -> list[Entry]:
        self._catalog.find(_require_name(model), version)  # before the lock, so that unknown names create none
        async with self._locks[model]:
            number = self._catalog.find(model, version).version if version else None
            if number is None:
                self._unloaded.add(model)
            await self._reconciler.unload(model, number, _UNLOADED)
        self._on_change()
        return list(self._catalog.versions(model).values())

    async def _reconcile(self, model: str, scope: LoadScope) -> dict[str, str]:
        async with self._locks[model]:
            # Scanned here, with the lock held: the folder may have changed while waiting for it.
            folder = (await self._list_folders()).get(model)
            default = self._catalog.default_model
            refusals = await self._reconciler.reconcile(model, folder, scope)
        if default and not self._catalog.default_model:
            logger.warning(
                "calls that name no model went to %s and are refused from now on, for the repository holds %s as well; "
                "--default-model says which model answers them",
                *(default, model),
            )
        self._on_change()
        return refusals

    async def _run_to_end(self, operation: Coroutine[Any, Any, Result]) -> Result:
        """Runs an operation to its end, even if the caller cancels."""
        if self._closed:
            operation.close()
            raise _stopping_error()
        task = asyncio.ensure_future(operation)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise _stopping_error() from None
            task.add_done_callback(self._report_unawaited)
            raise

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved, in case the caller cancelled

    def _report_unawaited(self, task: asyncio.Task[Any]) -> None:
        """Reports the fault of an operation whose caller left; nobody else would see it."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, RequestError):
            self._supervisor.report(MANAGER_PART, error)


def _stopping_error() -> Unavailable:
    return Unavailable("the server is stopping; try another one", _STOPPING_RETRY_SECONDS)


def _require_name(model: str) -> str:
    """Returns the name.

    Raises:
        InvalidArgument: if it is empty.
    """
    if not model:
        raise InvalidArgument("model", "model is empty, but must name the model")
    return model
