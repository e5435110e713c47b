"""The index of the model repository. Pure functions."""

from collections.abc import Iterator

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.model_store.catalog import Catalog, ModelState

_STATES = {
    ModelState.LOADING: "LOADING",
    ModelState.READY: "READY",
    ModelState.FAILED: "UNAVAILABLE",
    ModelState.DRAINING: "UNLOADING",
    ModelState.UNLOADED: "UNAVAILABLE",
}


def index(catalog: Catalog, only_ready: bool) -> kserve.RepositoryIndexResponse:
    """Lists every version in the catalog, or only the ready ones, under the name for encoded images."""
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
