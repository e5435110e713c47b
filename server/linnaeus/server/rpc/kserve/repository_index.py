"""What the repository holds, and what changes that."""

from collections.abc import Iterator
from typing import Any, Protocol

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.model_store.catalog import Catalog, ModelState

_STATES = {
    ModelState.LOADING: "LOADING",
    ModelState.READY: "READY",
    ModelState.FAILED: "UNAVAILABLE",
    ModelState.DRAINING: "UNLOADING",
    ModelState.UNLOADED: "UNAVAILABLE",
}


class ModelControl(Protocol):
    """Changes what is served, by the engine's names of models."""

    async def load_model(self, model: str) -> Any:
        """Loads what is not served of a model's versions; returns when they are."""

    async def unload_model(self, model: str) -> Any:
        """Stops serving a model."""


def index(catalog: Catalog, only_ready: bool) -> kserve.RepositoryIndexResponse:
    """Lists every version that is known, under the name that takes pictures."""
    return kserve.RepositoryIndexResponse(models=_models(catalog, only_ready))


def _models(catalog: Catalog, only_ready: bool) -> Iterator[kserve.RepositoryIndexResponse.ModelIndex]:
    for entry in catalog.entries():
        if entry.state is ModelState.READY or not only_ready:
            yield kserve.RepositoryIndexResponse.ModelIndex(
                name=entry.name,
                version=str(entry.version),
                state=_STATES[entry.state],
                reason=entry.reason,
            )
