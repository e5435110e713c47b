"""What the repository holds, and what changes that."""

from collections.abc import Iterator
from typing import Protocol

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.engine.catalog import Catalog, State

_STATES = {State.LOADING: "LOADING", State.READY: "READY", State.FAILED: "UNAVAILABLE"}


class Control(Protocol):
    """Changes what is served, by the engine's names of models."""

    async def load(self, name: str) -> None:
        """Loads a model's versions, or loads them anew; returns when they are served."""

    async def unload(self, name: str) -> None:
        """Stops serving a model."""


def index(catalog: Catalog, only_ready: bool) -> kserve.RepositoryIndexResponse:
    """Lists every version that is known, under the name that takes pictures."""
    return kserve.RepositoryIndexResponse(models=_models(catalog, only_ready))


def _models(catalog: Catalog, only_ready: bool) -> Iterator[kserve.RepositoryIndexResponse.ModelIndex]:
    for entry in catalog.entries():
        if entry.state is State.READY or not only_ready:
            yield kserve.RepositoryIndexResponse.ModelIndex(
                name=entry.name,
                version=str(entry.version),
                state=_STATES.get(entry.state, "UNAVAILABLE"),
                reason=entry.reason,
            )
