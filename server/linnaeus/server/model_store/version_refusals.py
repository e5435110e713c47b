"""Reports refused versions in the catalog, the log and the metrics."""

import logging
from dataclasses import replace

from linnaeus.server.config.model_settings import CONFIG_FILE
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.model_store.reconciled_model import ReconciledModel
from linnaeus.server.requests.observer import Observer

logger = logging.getLogger(__name__)


class VersionRefusals:
    """A reporter of refused versions. Belongs to the event loop's thread.

    Args:
        catalog: receives the reasons.
        observer: receives versions that config.toml lists and the repository does not have.
    """

    def __init__(self, catalog: Catalog, observer: Observer) -> None:
        self._catalog = catalog
        self._observer = observer

    def refuse(self, model: str, version: int, reason: str, level: int = logging.ERROR) -> None:
        """Records why a version was refused; a version that is served stays READY."""
        entry = self._catalog.versions(model).get(version)
        if entry is not None and entry.state is ModelState.READY:
            logger.log(level, "model %s/%d is served as before, for its reload is refused: %s", model, version, reason)
            self._catalog.put(replace(entry, reason=f"served as before, for its reload was refused: {reason}"))
        else:
            logger.log(level, "model %s/%d is refused: %s", model, version, reason)
            self._catalog.put(Entry(model, version, ModelState.FAILED, reason))

    def refuse_missing(self, model: str, version: int) -> str:
        """Reports a version that config.toml lists and the repository does not have; returns the reason."""
        reason = f"{CONFIG_FILE}: versions lists {version}, which the repository does not hold"
        logger.error("model %s: %s", model, reason)
        self._observer.load_failed(model)
        return reason

    def clear_reason(self, model: str, version: int, reconciled: ReconciledModel) -> None:
        """Clears the reason of a served version, unless its last load was refused."""
        entry = self._catalog.versions(model).get(version)
        if entry is not None and entry.state is ModelState.READY and entry.reason and version not in reconciled.refused:
            self._catalog.put(replace(entry, reason=""))


def log_unserved_names(model: str, reconciled: ReconciledModel, ready: set[int]) -> None:
    """Logs the labels and the default version of a model that name a version that is not ready."""
    for label, version in reconciled.labels.items():
        if version not in ready:
            logger.error("label %s of model %s names version %d, which is not served", label, model, version)
    default = reconciled.default or reconciled.configured_default
    if default and not (ready & {reconciled.labels.get(default), int(default) if default.isdecimal() else None}):
        logger.error("default version %s of model %s is not served; the highest that is ready is", default, model)
