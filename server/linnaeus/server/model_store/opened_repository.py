"""The repository that a setting names: a folder, or the copy of a bucket in one."""

from collections.abc import Callable, Mapping
from pathlib import Path

from linnaeus.server.config.repository_url import repository_url
from linnaeus.server.config.settings import Settings
from linnaeus.server.model_store.catalog import Catalog, ModelState
from linnaeus.server.model_store.remote.remote_repository import RemoteRepository
from linnaeus.server.model_store.repository import FolderRepository, ModelRepository


def repository_of(settings: Settings, catalog: Catalog) -> ModelRepository:
    """Returns the repository, which `open` makes readable.

    Args:
        settings: the server's settings.
        catalog: has the states of the versions, which decide what of a bucket is kept.

    Raises:
        StartupError: if the copy of a bucket has no place.
    """
    if repository_url(settings.repository) is None:
        return FolderRepository(Path(settings.repository), settings.model_name)
    return RemoteRepository(settings, _states_of(catalog))


def _states_of(catalog: Catalog) -> Callable[[], Mapping[tuple[str, int], ModelState]]:
    return lambda: {(entry.name, entry.version): entry.state for entry in catalog.entries()}
