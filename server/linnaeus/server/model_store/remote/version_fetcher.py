"""Has one version after the other copied, says what failed, and tries that again later."""

import logging
import time
from collections.abc import Callable, Set

from linnaeus.server.model_store.remote.bucket_connection import BucketConnection
from linnaeus.server.model_store.remote.copy_budget import CopyBudget
from linnaeus.server.model_store.remote.errors import BucketError, VersionIncomplete, VersionRefused
from linnaeus.server.model_store.remote.listing import RemoteVersion, VersionKey
from linnaeus.server.model_store.remote.local_copy import LocalCopy, stamp_of
from linnaeus.server.model_store.remote.problems import Problems
from linnaeus.server.model_store.remote.retries import Retries
from linnaeus.server.model_store.remote.version_download import VersionDownload
from linnaeus.server.model_store.repository_statistics import RepositoryStatistics
from linnaeus.text_files import reason_of

logger = logging.getLogger(__name__)


class VersionFetcher:
    """Fetches versions into the copy. Belongs to the copying thread.

    Args:
        connection: to the bucket; closed after a failure to read.
        copy: the copy.
        budget: evicts versions from it.
        kept: returns the versions that must not be evicted.
        problems: receives what failed.
        statistics: receives counts.
        repository: the repository, as messages name it.
        clock: monotonic time in seconds.

    Attributes:
        missing: versions that were to be fetched, and are not in the copy yet.
    """

    def __init__(
        self,
        connection: BucketConnection,
        copy: LocalCopy,
        budget: CopyBudget,
        kept: Callable[[], Set[VersionKey]],
        problems: Problems,
        statistics: RepositoryStatistics,
        repository: str,
        clock: Callable[[], float],
    ) -> None:
        self.missing: set[VersionKey] = set()
        self._connection = connection
        self._copy = copy
        self._budget = budget
        self._kept = kept
        self._problems = problems
        self._statistics = statistics
        self._repository = repository
        self._retries = Retries(clock)

    def fetch(self, version: RemoteVersion) -> None:
        """Fetches a version unless it was copied, or failed so lately that it is too early to try again."""
        key = version.key
        if key in self._copy.versions():
            self._compare(version)
        elif self._retries.is_due(key, stamp_of(version)):
            self.missing.add(key)
            if self._try_to_fetch(version):
                self.missing.discard(key)
                self._retries.succeeded(key)
                self._problems.end(subject_of(key))

    def forget_all_but(self, versions: Set[VersionKey]) -> None:
        """Forgets what failed of other versions, which no longer exist."""
        self._retries.keep(set(versions))
        self.missing &= versions

    def _compare(self, version: RemoteVersion) -> None:
        """Says once that a copied version has changed in the bucket: versions do not, so it is not followed."""
        if version.files and self._copy.stamp(version.key) not in ("", stamp_of(version)):
            sentence = "it has changed in the bucket, which is not followed; push it under a number of its own"
            self._problems.add(copy_of(version.key), sentence, logging.WARNING)
        else:
            self._problems.end(copy_of(version.key))

    def _try_to_fetch(self, version: RemoteVersion) -> bool:
        subject, is_refused = subject_of(version.key), False
        try:
            self._fetch(version)
            return True
        except VersionIncomplete as error:
            self._problems.add(subject, f"it is not complete: {error}", logging.INFO)
            return False
        except VersionRefused as error:
            self._copy.discard(version)
            self._problems.fail(subject, f"it is refused: {error}")
            is_refused = True
        except BucketError as error:
            self._connection.close()
            self._problems.fail(subject, f"it cannot be fetched: {error}")
        except OSError as error:
            self._problems.fail(subject, f"its copy cannot be written: {reason_of(error)}")
        self._retries.failed(version.key, stamp_of(version), is_refused)
        return False

    def _fetch(self, listed: RemoteVersion) -> None:
        bucket = self._connection.bucket
        version = bucket.look(listed)
        if not version.files:
            raise VersionIncomplete("it has no file of a version")
        started = time.monotonic()
        draft = self._copy.draft(version)
        download = VersionDownload(bucket, version, draft, self._count_bytes)
        self._budget.evict_for(download.missing_bytes, self._kept())
        download.fetch()
        self._copy.publish(version, draft)
        self._statistics.versions += 1
        logger.info(
            "repository %s: model %s/%d is copied (%.1f MB, %.1f s)",
            *(self._repository, version.model, version.number),
            *(sum(file.size or 0 for file in version.files.values()) / 1e6, time.monotonic() - started),
        )

    def _count_bytes(self, count: int) -> None:
        self._statistics.bytes += count


def subject_of(version: VersionKey) -> str:
    """Returns a version, as problems name it."""
    return f"{version[0]}/{version[1]}"


def copy_of(version: VersionKey) -> str:
    """Returns the copy of a version, as problems name it."""
    return f"the copy of {subject_of(version)}"
