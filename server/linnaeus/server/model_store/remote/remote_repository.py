"""A repository in a bucket, as the rest of the server sees it: the folder that has its copy."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Set
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from linnaeus.models.manifest import check_name
from linnaeus.server.config.repository_url import EXTRAS, RepositoryUrl, repository_url
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.model_store.model_folders import ModelFolder, VersionFolder, list_model_folders
from linnaeus.server.model_store.remote.bucket import Bucket, open_bucket
from linnaeus.server.model_store.remote.errors import BucketError
from linnaeus.server.model_store.remote.listing import RemoteModel, VersionKey
from linnaeus.server.model_store.remote.local_copy import LocalCopy, folder_of
from linnaeus.server.model_store.remote.synchronizer import Synchronizer
from linnaeus.server.model_store.repository import FOLLOW_PART, NO_MODEL
from linnaeus.server.model_store.repository_statistics import RepositoryStatistics
from linnaeus.server.process.daemon_threads import run_in_thread
from linnaeus.server.process.supervisor import ESCAPES, Supervisor
from linnaeus.server.process.thread_priority import lower_priority
from linnaeus.server.runtime.remembered_choices import cache_folder

logger = logging.getLogger(__name__)

_AUTO = "auto"
_BUSY_SECONDS = 0.2


def local_copy(settings: Settings, url: RepositoryUrl) -> LocalCopy:
    """Returns the copy of a repository, which is not made yet.

    Raises:
        StartupError: if there is no folder for it.
    """
    if settings.repository_folder != _AUTO:
        return LocalCopy(Path(settings.repository_folder), url)
    cache = cache_folder(settings.cache_dir)
    if not cache:
        message = "there is no cache folder that can be written, so the copy of the repository has no place"
        raise StartupError(f"{message}; name a folder with --repository-folder")
    return LocalCopy(folder_of(url, cache), url)


def check_copy(settings: Settings) -> None:
    """Checks that what the repository's URL needs is installed and that its copy has a place; connects to nothing.

    Raises:
        StartupError: if one is missing.
    """
    url = _url_of(settings)
    extra, module = EXTRAS[url.scheme]
    if find_spec(module) is None:
        raise StartupError(f"repository is {url.shown}, but {module} is not installed: pip install 'linnaeus[{extra}]'")
    local_copy(settings, url).open()


class RemoteRepository:
    """See `ModelRepository`.

    Args:
        settings: the server's settings; the repository is a URL.
        states: returns the states of the versions that the server knows; any thread calls it.
        connect: connects to a bucket.

    Attributes:
        statistics: what was copied.

    Raises:
        StartupError: if the copy has no place.
    """

    def __init__(
        self,
        settings: Settings,
        states: Callable[[], Mapping[VersionKey, ModelState]],
        connect: Callable[[RepositoryUrl], Bucket] = open_bucket,
    ) -> None:
        url = _url_of(settings)
        self.statistics: RepositoryStatistics | None = RepositoryStatistics(settings.model_control == "watch")
        self._name = url.shown
        self._wanted = settings.wanted_models
        self._control = settings.model_control
        self._copy = local_copy(settings, url)
        self._synchronizer = Synchronizer(settings, url, self._copy, connect, states, self.statistics)

    @property
    def name(self) -> str:
        """The URL without secrets."""
        return self._name

    @property
    def root(self) -> Path:
        """The folder of the copy."""
        return self._copy.root

    def folders(self) -> dict[str, ModelFolder]:
        """See `ModelRepository`. Under explicit control a model of which nothing was copied has all its versions."""
        copied = list_model_folders(self._copy.root)
        listing = self._synchronizer.listing
        if self._control != "explicit" or listing is None:
            return copied
        return {name: _placeholder(self.root, model) for name, model in listing.models.items()} | {
            name: folder for name, folder in copied.items() if folder.versions
        }

    def fetch(self, model: str) -> None:
        """See `ModelRepository`."""
        try:
            check_name(model)
        except ValueError:
            return  # no repository has such a model
        try:
            _at_low_priority(partial(self._wait_and_synchronize, frozenset({model})))
        except BucketError as error:
            if not self._has_all(frozenset({model})):
                raise OSError(f"the repository {self._name} cannot be read: {error}") from None

    async def open(self) -> None:
        """Copies what the start needs; a server that follows the repository starts with what it has.

        Raises:
            StartupError: if nothing was copied and the bucket cannot be read, or no version of it can be taken.
        """
        await run_in_thread("linnaeus-copy", self._copy.open)
        if self._control == "watch" and self._has_all(self._wanted):
            return
        try:
            await run_in_thread("linnaeus-copy", partial(_at_low_priority, self._copy_at_start))
        except BucketError as error:
            if not self._has_all(self._wanted):
                raise StartupError(f"the model repository {self._name} cannot be read: {error}") from None
        reasons = self._synchronizer.reasons()
        if self._control != "explicit" and reasons and not self._copy.versions():
            raise StartupError(NO_MODEL + "; ".join(f"{subject}: {reason}" for subject, reason in reasons.items()))

    async def follow(self, seconds: float, supervisor: Supervisor) -> None:
        """Copies what is new until cancelled.

        Args:
            seconds: interval between two rounds.
            supervisor: receives faults; none of them ends the copying.
        """
        work = partial(_at_low_priority, partial(self._synchronizer.synchronize, self._wanted))
        while True:
            try:
                await run_in_thread("linnaeus-copy", work)
            except BucketError:
                pass  # it is logged and counted
            except ESCAPES as error:
                supervisor.report(FOLLOW_PART, error, "copying the repository")
            await asyncio.sleep(seconds)

    def _copy_at_start(self) -> None:
        if self._control == "explicit" and not self._wanted:
            self._synchronizer.list()
        else:
            self._wait_and_synchronize(self._wanted)
            if self._control == "explicit":
                self._synchronizer.list()

    def _wait_and_synchronize(self, models: Set[str]) -> None:
        """Synchronizes, once no other process copies into the same folder."""
        while not self._synchronizer.synchronize(models):
            threading.Event().wait(_BUSY_SECONDS)

    def _has_all(self, models: Set[str]) -> bool:
        """Returns whether a version of each of these models was copied; without models, any version."""
        copied = {name for name, _ in self._copy.versions()}
        return models <= copied if models else bool(copied)


def _url_of(settings: Settings) -> RepositoryUrl:
    url = repository_url(settings.repository)
    if url is None:
        raise ValueError("the repository is a folder")
    return url


def _placeholder(root: Path, model: RemoteModel) -> ModelFolder:
    path = root / model.name
    versions = {
        number: VersionFolder(model.name, number, path / model.versions[number].folder)
        for number in sorted(model.versions)
    }
    return ModelFolder(model.name, path, versions, ())


def _at_low_priority(work: "Callable[[], object]") -> None:
    lower_priority()
    work()
