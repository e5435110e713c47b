"""Evicts versions from the copy, so that a new one fits into the disk and into what the operator allows."""

import logging
import shutil
from collections.abc import Set

from linnaeus.server.model_store.remote.errors import VersionRefused
from linnaeus.server.model_store.remote.listing import VersionKey
from linnaeus.server.model_store.remote.local_copy import LocalCopy
from linnaeus.server.model_store.remote.plan import versions_to_evict

logger = logging.getLogger(__name__)


class CopyBudget:
    """The bytes that a copy may take. Belongs to the copying thread.

    Args:
        copy: the copy.
        repository: the repository, as messages name it.
        limit_bytes: what the copy may have at most; 0 for what the disk has.
    """

    def __init__(self, copy: LocalCopy, repository: str, limit_bytes: int) -> None:
        self._copy = copy
        self._repository = repository
        self._limit_bytes = limit_bytes

    def evict_for(self, needed_bytes: int, kept: Set[VersionKey]) -> None:
        """Removes as many versions as a new one needs, none of those that are kept.

        Raises:
            VersionRefused: if removing all of them would not be enough; none is removed then.
        """
        free, place = shutil.disk_usage(self._copy.root).free, "the disk has"
        if self._limit_bytes and (allowed := max(self._limit_bytes - self._copy.total_bytes(), 0)) < free:
            free, place = allowed, "--repository-bytes leaves"
        others = {key: self._copy.bytes_of(key) for key in self._copy.versions().keys() - kept}
        removed = versions_to_evict(needed_bytes, free, others)
        if removed is None:
            raise VersionRefused(
                f"it needs {needed_bytes} bytes, and {place} {free} beside the versions that are served or wanted"
            )
        for key in removed:
            logger.info("repository %s: the copy of model %s/%d is removed for another version", self._repository, *key)
            self._copy.remove(key)
