"""Ends the start of a server that has no model to serve."""

from linnaeus.server.errors import StartupError
from linnaeus.server.model_store.catalog import Catalog, ModelState
from linnaeus.server.model_store.repository import NO_MODEL


def require_a_model(catalog: Catalog) -> None:
    """Requires that a version is ready.

    Raises:
        StartupError: if none is; has the reason of each.
    """
    entries = catalog.entries()
    if not any(entry.state is ModelState.READY for entry in entries):
        reasons = "; ".join(f"{entry.name}/{entry.version}: {entry.reason}" for entry in entries)
        raise StartupError(NO_MODEL + reasons)
