"""Reports folders whose names are those of no model, or look like versions and are none, such as `1.0` or `+1`."""

import logging
from collections.abc import Iterable

from linnaeus.server.model_store.model_folders import ModelFolder

logger = logging.getLogger(__name__)


class IgnoredFolders:
    """The folders that were reported; each is reported once, and again if it is removed and comes back."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def report(self, folders: Iterable[ModelFolder]) -> None:
        """Logs the ignored folders that were not there at the last report."""
        ignored = {sentence for folder in folders for sentence in folder.ignored}
        for sentence in sorted(ignored - self._reported):
            logger.warning("%s", sentence)
        self._reported = ignored
