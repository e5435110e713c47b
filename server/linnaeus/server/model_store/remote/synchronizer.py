"""One round of copying: lists the bucket, removes what it no longer has, and fetches what is wanted."""

import logging
import shutil
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
from linnaeus.server.model_store.remote.errors import BucketError, VersionIncomplete, VersionRefused
from linnaeus.server.model_store.remote.listing import Listing, RemoteModel, RemoteVersion, VersionKey
from linnaeus.server.model_store.remote.local_copy import LocalCopy, stamp_of
from linnaeus.server.model_store.remote.plan import given_up, removable, wanted_versions
from linnaeus.server.model_store.remote.problems import Problems
from linnaeus.server.model_store.remote.retries import Retries
from linnaeus.server.model_store.remote.version_download import VersionDownload
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
        3. A version that is wanted or served is never given up for room.

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
        self._open_bucket = open_bucket
        self._states = states
        self._statistics = statistics
        self._lock = threading.Lock()
        self._bucket: Bucket | None = None
        self._problems = Problems(url.shown)
        self._retries = Retries(clock)
        self._missing: set[VersionKey] = set()
        self._wanted: dict[str, list[int]] = {}
        self._unfetched: set[VersionKey] = set()
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
            self._bucket = self._bucket or self._open_bucket(self._url)
            listing = self._bucket.list(models)
        except BucketError as error:
            self._failed(WHOLE, f"it cannot be read, what is served stays as it is: {error}")
            self._bucket = None
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
            self._failed(WHOLE, sentence)
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
            self._failed(subject, str(error))
            return None
        except OSError as error:
            self._failed(subject, f"it cannot be written: {reason_of(error)}")
            return None
        self._problems.end(subject)
        return policy

    def _copy_config(self, model: RemoteModel) -> None:
        if model.config is None:
            self._copy.set_config(model.name, None)
            return
        config = self._connected.stat(model.config)
        content = self._connected.read(config, _MOST_CONFIG_BYTES)
        if content != self._copy.config(model.name):
            self._copy.set_config(model.name, content)

    def _refused(self, model: str) -> set[int]:
        """Returns the versions in whose place an older one is wanted."""
        failed = [key for key, state in self._states().items() if state is ModelState.FAILED]
        failed += [version for version in self._unfetched if version not in failed]
        return {number for name, number in failed if name == model}

    def _forget_gone(self, listing: Listing, models: Set[str]) -> None:
        """Forgets what is known of versions that are no longer listed, after a listing of all models."""
        if models not in (frozenset(), self._settings.wanted_models):
            return
        versions = _keys(listing)
        self._wanted = {name: numbers for name, numbers in self._wanted.items() if name in listing.models}
        self._retries.keep(versions)
        self._unfetched &= versions
        configs = {f"{name}/{CONFIG_FILE}" for name in listing.models}
        copies = {_copy_of(version) for version in versions}
        self._problems.forget_all_but({_subject(version) for version in versions} | configs | copies)

    def _fetch_model(self, model: RemoteModel, policy: VersionPolicy) -> None:
        """Fetches the wanted versions of a model; where one is refused, the ones that are wanted in its place."""
        tried: set[int] = set()
        while left := [number for number in self._wanted[model.name] if number not in tried]:
            tried.add(left[0])
            self._fetch_if_needed(model.versions[left[0]])
            self._wanted[model.name] = wanted_versions(policy, model.versions, self._refused(model.name))

    def _fetch_if_needed(self, version: RemoteVersion) -> None:
        key = version.key
        if key in self._copy.versions():
            self._compare(version)
        elif self._retries.is_due(key, stamp_of(version)):
            self._unfetched.add(key)
            if self._try_to_fetch(version):
                self._unfetched.discard(key)
                self._retries.succeeded(key)
                self._problems.end(_subject(key))

    def _try_to_fetch(self, version: RemoteVersion) -> bool:
        subject, is_refused = _subject(version.key), False
        try:
            self._fetch(version)
            return True
        except VersionIncomplete as error:
            self._problems.add(subject, f"it is not complete: {error}", logging.INFO)
            return False
        except VersionRefused as error:
            self._copy.discard(version)
            self._failed(subject, f"it is refused: {error}")
            is_refused = True
        except BucketError as error:
            self._bucket = None  # connects anew, so that new credentials are read
            self._failed(subject, f"it cannot be fetched: {error}")
        except OSError as error:
            self._failed(subject, f"its copy cannot be written: {reason_of(error)}")
        self._retries.failed(version.key, stamp_of(version), is_refused)
        return False

    def _compare(self, version: RemoteVersion) -> None:
        """Says once that a copied version has changed in the bucket: versions do not, so it is not followed."""
        if version.files and self._copy.stamp(version.key) not in ("", stamp_of(version)):
            sentence = "it has changed in the bucket, which is not followed; push it under a number of its own"
            self._problems.add(_copy_of(version.key), sentence, logging.WARNING)
        else:
            self._problems.end(_copy_of(version.key))

    def _fetch(self, listed: RemoteVersion) -> None:
        version = self._connected.look(listed)
        if not version.files:
            raise VersionIncomplete("it has no file of a version")
        started = time.monotonic()
        draft = self._copy.draft(version)
        download = VersionDownload(self._connected, version, draft, self._count_bytes)
        self._make_room(version, download.missing_bytes)
        download.fetch()
        self._copy.publish(version, draft)
        self._statistics.versions += 1
        logger.info(
            "repository %s: model %s/%d is copied (%.1f MB, %.1f s)",
            *(self._url.shown, version.model, version.number),
            *(sum(file.size or 0 for file in version.files.values()) / 1e6, time.monotonic() - started),
        )

    def _make_room(self, version: RemoteVersion, needed: int) -> None:
        """Removes versions that nothing wants until there is room.

        Raises:
            VersionRefused: if there is too little room still.
        """
        room, limit = shutil.disk_usage(self._copy.root).free, self._settings.repository_bytes
        place = "the disk has"
        if limit and limit - self._copy.total_bytes() < room:
            room, place = max(limit - self._copy.total_bytes(), 0), "--repository-bytes leaves"
        removed = given_up(needed, room, self._unwanted())
        if removed is None:
            raise VersionRefused(
                f"it needs {needed} bytes, and {place} {room} beside the versions that are served or wanted"
            )
        for key in removed:
            logger.info("repository %s: the copy of model %s/%d makes room", self._url.shown, *key)
            self._copy.remove(key)

    def _unwanted(self) -> dict[VersionKey, int]:
        states = self._states()
        wanted = {(name, number) for name, numbers in self._wanted.items() for number in numbers}
        kept = wanted | {key for key, state in states.items() if state in _SERVED}
        return {key: self._copy.bytes_of(key) for key in self._copy.versions().keys() - kept}

    def _kept(self, listing: Listing) -> set[str]:
        """Returns what `LocalCopy.clean` keeps."""
        kept = {*listing.models, *self._wanted}
        for model in listing.models.values():
            numbers = self._wanted.get(model.name, [])
            kept |= {f"{model.name}/{each.folder}" for each in model.versions.values() if each.number in numbers}
        return kept

    @property
    def _connected(self) -> Bucket:
        """The bucket; connects to it, also anew after a failure."""
        self._bucket = self._bucket or self._open_bucket(self._url)
        return self._bucket

    def _count_bytes(self, count: int) -> None:
        self._statistics.bytes += count

    def _failed(self, subject: str, sentence: str) -> None:
        self._statistics.failures += 1
        self._problems.add(subject, sentence)


def _keys(listing: Listing) -> set[VersionKey]:
    return {version.key for model in listing.models.values() for version in model.versions.values()}


def _subject(version: VersionKey) -> str:
    return f"{version[0]}/{version[1]}"


def _copy_of(version: VersionKey) -> str:
    return f"the copy of {_subject(version)}"
