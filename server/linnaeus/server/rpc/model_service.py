"""The servicer of linnaeus.v1.ModelService."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from linnaeus.server.engine.core_client import ModelOperations
from linnaeus.server.model_store.catalog import Catalog, Entry
from linnaeus.server.rpc.messages import to_model
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

NAME = v1.DESCRIPTOR.services_by_name["ModelService"].full_name

if TYPE_CHECKING:
    from linnaeus.v1.classifier_pb2_grpc import _ServicerContext as Context


class ModelServicer(v1_grpc.ModelServiceServicer):
    """Translates calls to the model manager's interface; `InterceptedServer` maps its errors to statuses.

    Args:
        model_manager: loads and unloads models.
        catalog: describes the versions.
    """

    def __init__(self, model_manager: ModelOperations, catalog: Catalog) -> None:
        self._model_manager = model_manager
        self._catalog = catalog

    async def LoadModel(self, request: v1.LoadModelRequest, context: "Context") -> v1.LoadModelResponse:
        """Loads the versions of a model that are not served yet."""
        return v1.LoadModelResponse(models=self._to_models(await self._model_manager.load_model(request.model)))

    async def UnloadModel(self, request: v1.UnloadModelRequest, context: "Context") -> v1.UnloadModelResponse:
        """Stops serving a version, or all versions, of a model."""
        entries = await self._model_manager.unload_model(request.model, request.version)
        return v1.UnloadModelResponse(models=self._to_models(entries))

    async def ReloadModel(self, request: v1.ReloadModelRequest, context: "Context") -> v1.ReloadModelResponse:
        """Reloads a model; the old versions serve until the new ones are ready."""
        return v1.ReloadModelResponse(models=self._to_models(await self._model_manager.reload_model(request.model)))

    async def SetDefaultVersion(
        self, request: v1.SetDefaultVersionRequest, context: "Context"
    ) -> v1.SetDefaultVersionResponse:
        """Sets the version that answers requests without a version."""
        entry = await self._model_manager.set_default_version(request.model, request.version)
        return v1.SetDefaultVersionResponse(model=to_model(entry, self._catalog))

    def _to_models(self, entries: Iterable[Entry]) -> list[v1.Model]:
        return [to_model(entry, self._catalog) for entry in entries]
