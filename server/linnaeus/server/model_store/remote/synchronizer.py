"""One round of copying: lists the bucket, removes what it no longer has, and fetches what is wanted."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Set

from linnaeus.server.config.model_settings import CONFIG_FILE, model_settings
from linnaeus.server.config.repository_url import RepositoryUrl
from linnaeus.server.config.settings import Settings
from linnaeus.server.config.version_policy import VersionPolicy
from linnaeus.server.errors import ModelRefused
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.model_store.remote.bucket import Bucket
from linnaeus.server.model_store.remote.bucket_connection import BucketConnection
from linnaeus.server.model_store.remote.copy_budget import CopyBudget
from linnaeus.server.model_store.remote.errors import BucketError, VersionRefused
from linnaeus.server.model_store.remote.listing import Listing, RemoteModel, VersionKey
from linnaeus.server.model_store.remote.local_copy import LocalCopy
from linnaeus.server.model_store.remote.plan import removable, wanted_versions
from linnaeus.server.model_store.remote.problems import Problems
from linnaeus.server.model_store.remote.version_fetcher import VersionFetcher, copy_of, subject_of
from linnaeus.server.model_store.repository_statistics import RepositoryStatistics
from linnaeus.text_files import reason_of

logger = logging.getLogger(__name__)

_MOST_CONFIG_BYTES = 1 << 20
_SERVED = (ModelState.READY, ModelState.LOADING, ModelState.DRAINING)
WHOLE = "the listing"


class Synchronizer:
    """Copies a repository. All methods block; any thread may call them, and one of them works at a time.

    Invariants:
        1. A version appears in the copy whole and checked, by a rename, and never changes there.
        2. A listing that fails, or suddenly has no version at all, changes nothing.
        3. A version that is wanted or served is never evicted.

    Args:
        settings: the server's settings.
        url: of the repository.
        copy: the copy.
        open_bucket: connects to the bucket; called again after a failure, so that new credentials are read.
        states: returns the states of the versions that the server knows.
        statistics: receives counts.
        clock: monotonic time in seconds.

    Attributes:
        listing: what `list` found; None before.
    """

    def __init__(
        self,
        settings: Settings,
        url: RepositoryUrl,
        copy: LocalCopy,
        open_bucket: Callable[[RepositoryUrl], Bucket],
        states: Callable[[], Mapping[VersionKey, ModelState]],
        statistics: RepositoryStatistics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.listing: Listing | None = None
        self._settings = settings
        self._url = url
        self._copy = copy
        self._states = states
        self._statistics = statistics
        self._lock = threading.Lock()
        self._connection = BucketConnection(url, open_bucket)
        self._problems = Problems(url.shown, statistics)
        budget = CopyBudget(copy, url.shown, settings.repository_bytes)
        self._fetcher = VersionFetcher(
            self._connection, copy, budget, self._wanted_or_served, self._problems, statistics, url.shown, clock
        )
        self._missing: set[VersionKey] = set()
        self._wanted: dict[str, list[int]] = {}
        self._reported: set[str] = set()

    def reasons(self) -> dict[str, str]:
        """Returns what is wrong at present, by `model/version` and other subjects."""
        return self._problems.reasons()

    def list(self) -> None:
        """Lists the bucket and copies nothing.

        Raises:
            BucketError: if it cannot be listed.
        """
        with self._lock:
            self.listing = self._list(frozenset())

    def _list(self, models: Set[str]) -> Listing:
        try:
            listing = self._connection.bucket.list(models)
        except BucketError as error:
            self._problems.fail(WHOLE, f"it cannot be read, what is served stays as it is: {error}")
            self._connection.close()
            raise
        for sentence in sorted(set(listing.ignored) - self._reported):
            logger.warning("repository %s: %s", self._url.shown, sentence)
        self._reported = set(listing.ignored)
        return listing

    def synchronize(self, models: Set[str] = frozenset()) -> bool:
        """Copies what is new and wanted; returns False if another process copies into the same folder.

        Args:
            models: names of the models to copy; empty for all.

        Raises:
            BucketError: if the bucket cannot be listed; nothing is changed then.
        """
        with self._lock, self._copy.writing() as may_write:
            if may_write:
                self._synchronize(models)
            return may_write

    def _synchronize(self, models: Set[str]) -> None:
        listing = self._list(models)
        copied = {key for key in self._copy.versions() if not models or key[0] in models}
        if listing.is_empty and copied:
            sentence = f"it suddenly has none of the {len(copied)} versions that were copied; they are kept"
            self._problems.fail(WHOLE, sentence)
            raise BucketError(sentence)
        self._problems.end(WHOLE)
        self._remove(listing, copied)
        policies = {name: self._policy(model) for name, model in listing.models.items()}
        self._forget_gone(listing, models)
        for name, policy in policies.items():
            if policy is not None:
                self._wanted[name] = wanted_versions(policy, listing.models[name].versions, self._refused(name))
        for name, policy in policies.items():
            if policy is not None:
                self._fetch_model(listing.models[name], policy)
        self._copy.clean(self._kept(listing))
        self._statistics.copy_bytes = self._copy.total_bytes()
        self._statistics.succeeded_at = time.time()

    def _remove(self, listing: Listing, copied: set[VersionKey]) -> None:
        listed = _keys(listing)
        for key in sorted(removable(copied, listed, self._missing)):
            logger.info("repository %s: model %s/%d is gone, its copy is removed", self._url.shown, *key)
            self._copy.remove(key)
        self._missing = copied - listed
        for name in {name for name, _ in copied} - listing.models.keys() - {name for name, _ in self._copy.versions()}:
            self._copy.set_config(name, None)

    def _policy(self, model: RemoteModel) -> VersionPolicy | None:
        """Copies the config.toml of a model and returns which versions it wants; None if it cannot be read."""
        subject = f"{model.name}/{CONFIG_FILE}"
        try:
            self._copy.add_model(model.name)
            self._copy_config(model)
            policy = model_settings(self._copy.root / model.name, self._settings).versions
        except (BucketError, VersionRefused, ModelRefused) as error:
            self._problems.fail(subject, str(error))
            return None
        except OSError as error:
            self._problems.fail(subject, f"it cannot be written: {reason_of(error)}")
            return None
        self._problems.end(subject)
        return policy

    def _copy_config(self, model: RemoteModel) -> None:
        if model.config is None:
            self._copy.set_config(model.name, None)
            return
        config = self._connection.bucket.stat(model.config)
        content = self._connection.bucket.read(config, _MOST_CONFIG_BYTES)
        if content != self._copy.config(model.name):
            self._copy.set_config(model.name, content)

    def _refused(self, model: str) -> set[int]:
        """Returns the versions in whose place an older one is wanted."""
        failed = [key for key, state in self._states().items() if state is ModelState.FAILED]
        failed += [version for version in self._fetcher.missing if version not in failed]
        return {number for name, number in failed if name == model}

    def _forget_gone(self, listing: Listing, models: Set[str]) -> None:
        """Forgets what is known of versions that are no longer listed, after a listing of all models."""
        if models not in (frozenset(), self._settings.wanted_models):
            return
        versions = _keys(listing)
        self._wanted = {name: numbers for name, numbers in self._wanted.items() if name in listing.models}
        self._fetcher.forget_all_but(versions)
        configs = {f"{name}/{CONFIG_FILE}" for name in listing.models}
        copies = {copy_of(version) for version in versions}
        self._problems.forget_all_but({subject_of(version) for version in versions} | configs | copies)

    def _fetch_model(self, model: RemoteModel, policy: VersionPolicy) -> None:
        """Fetches the wanted versions of a model; where one is refused, the ones that are wanted in its place."""
        tried: set[int] = set()
        while left := [number for number in self._wanted[model.name] if number not in tried]:
            tried.add(left[0])
            self._fetcher.fetch(model.versions[left[0]])
            self._wanted[model.name] = wanted_versions(policy, model.versions, self._refused(model.name))

    def _wanted_or_served(self) -> set[VersionKey]:
        wanted = {(name, number) for name, numbers in self._wanted.items() for number in numbers}
        return wanted | {key for key, state in self._states().items() if state in _SERVED}

    def _kept(self, listing: Listing) -> set[str]:
        """Returns what `LocalCopy.clean` keeps."""
        kept = {*listing.models, *self._wanted}
        for model in listing.models.values():
            numbers = self._wanted.get(model.name, [])
            kept |= {f"{model.name}/{each.folder}" for each in model.versions.values() if each.number in numbers}
        return kept


def _keys(listing: Listing) -> set[VersionKey]:
    return {version.key for model in listing.models.values() for version in model.versions.values()}
