"""Reports folders that look like versions and are none, such as `1.0`, `+1` or a number of twenty digits."""

import logging
from collections.abc import Iterable

from linnaeus.server.model_store.repository import ModelFolder

logger = logging.getLogger(__name__)


class IgnoredFolders:
    """The folders that were reported; each is reported once, and again if it is removed and comes back."""

    def __init__(self) -> None:
        self._reported: set[tuple[str, str]] = set()

    def report(self, folders: Iterable[ModelFolder]) -> None:
        """Logs the ignored folders that were not there at the last report."""
        ignored = {(folder.name, name) for folder in folders for name in folder.ignored}
        for model, name in sorted(ignored - self._reported):
            logger.warning(
                "folder %r of model %s is ignored: a version is a positive number of at most 18 digits from 0 to 9",
                *(name, model),
            )
        self._reported = ignored
