"""The servicer of inference.GRPCInferenceService: passes each call to the module that implements it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.engine.engine import Engine
from linnaeus.server.errors import InvalidArgument, RequestError
from linnaeus.server.model_store.catalog import Catalog, ModelState
from linnaeus.server.rpc.kserve import metadata, model_config, model_names, repository_index
from linnaeus.server.rpc.kserve.model_infer import infer
from linnaeus.server.rpc.kserve.statistics import RemoteStatistics, Statistics
from linnaeus.server.rpc.kserve.stream_infer import InferStream
from linnaeus.server.security.charging import Charge, no_charge

NAME = kserve.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

if TYPE_CHECKING:
    from linnaeus.kserve.grpc_service_pb2_grpc import _ServicerContext as Context


class ModelControl(Protocol):
    """Loads and unloads models, by their names in the engine's catalog."""

    async def load_model(self, model: str) -> Any:
        """Loads the versions of a model that are not served yet; returns when they are."""

    async def unload_model(self, model: str) -> Any:
        """Stops serving a model."""


class InferenceServicer(kserve_grpc.GRPCInferenceServiceServicer):
    """Translates calls to the engine's interface; `InterceptedServer` maps the engine's errors to statuses.

    Args:
        engine: classifies the images.
        statistics: has the statistics of versions.
        release: the server's release.
        is_ready: returns whether the server's health is SERVING.
        model_manager: loads and unloads models.
        clock: the engine's clock.
        is_stopping: returns whether the server is in its lame-duck time or stops.
        charge: charges the images of a call beyond the first; that was charged with the call.
    """

    def __init__(
        self,
        engine: Engine,
        statistics: Statistics | RemoteStatistics,
        release: str,
        is_ready: Callable[[], bool],
        model_manager: ModelControl,
        clock: Callable[[], float] = time.monotonic,
        charge: Charge = no_charge,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_stopping = is_stopping
        self._charge = charge
        self._engine = engine
        self._statistics = statistics
        self._release = release
        self._is_ready = is_ready
        self._model_manager = model_manager
        self._clock = clock

    @property
    def _catalog(self) -> Catalog:
        return self._engine.catalog

    async def ModelInfer(self, request: kserve.ModelInferRequest, context: "Context") -> kserve.ModelInferResponse:
        """Classifies the images of one request."""
        return await self._infer(request, context, already_charged=1)

    async def _infer(
        self, request: kserve.ModelInferRequest, context: "Context", already_charged: int
    ) -> kserve.ModelInferResponse:
        now, remaining_seconds = self._clock(), context.time_remaining()
        deadline = None if remaining_seconds is None else now + remaining_seconds

        async def charge(images: int) -> None:
            await self._charge(images - already_charged)

        return await infer(self._engine, request, now, deadline, charge)

    async def ModelStreamInfer(  # type: ignore[override]  # gRPC also accepts a coroutine that writes
        self, request_iterator: AsyncIterator[kserve.ModelInferRequest], context: "Context"
    ) -> None:
        """Classifies the images of a stream of requests."""
        messages: Any = request_iterator  # `RequestMessages`, see `InterceptedServer`
        infer_one = partial(self._infer, context=context, already_charged=0)
        stream = InferStream(messages, infer_one, self._engine.closing)
        # As a generator it would pass each response through four others: 25 µs of 340 on the event loop an image.
        async with aclosing(stream.responses()) as responses:
            async for response in responses:
                await messages.take_turn()
                await context.write(response)

    async def ServerLive(self, request: kserve.ServerLiveRequest, context: "Context") -> kserve.ServerLiveResponse:
        """Returns that the server is live."""
        return kserve.ServerLiveResponse(live=True)

    async def ServerReady(self, request: kserve.ServerReadyRequest, context: "Context") -> kserve.ServerReadyResponse:
        """Returns whether the server's health is SERVING."""
        return kserve.ServerReadyResponse(ready=self._is_ready())

    async def ModelReady(self, request: kserve.ModelReadyRequest, context: "Context") -> kserve.ModelReadyResponse:
        """Returns whether calls for a version should be sent here: it is served, by a device, and goes on to be."""
        if self._is_stopping():
            return kserve.ModelReadyResponse(ready=False)
        try:
            entry = self._catalog.find(model_names.engine_model_name(self._catalog, request.name), request.version)
        except RequestError:
            return kserve.ModelReadyResponse(ready=False)
        states = self._engine.device_states
        has_device = any(states.get(name, False) for name in entry.devices)
        return kserve.ModelReadyResponse(ready=entry.state is ModelState.READY and has_device)

    async def ServerMetadata(
        self, request: kserve.ServerMetadataRequest, context: "Context"
    ) -> kserve.ServerMetadataResponse:
        """Returns the metadata of the server."""
        return metadata.server_metadata(self._release)

    async def ModelMetadata(
        self, request: kserve.ModelMetadataRequest, context: "Context"
    ) -> kserve.ModelMetadataResponse:
        """Returns the metadata of a model."""
        model = model_names.resolve(self._catalog, request.name, request.version)
        return metadata.model_metadata(self._catalog, model, request.version)

    async def ModelConfig(self, request: kserve.ModelConfigRequest, context: "Context") -> kserve.ModelConfigResponse:
        """Returns the configuration of a model."""
        model = model_names.resolve(self._catalog, request.name, request.version)
        return kserve.ModelConfigResponse(config=model_config.model_config(model))

    async def ModelStatistics(
        self, request: kserve.ModelStatisticsRequest, context: "Context"
    ) -> kserve.ModelStatisticsResponse:
        """Returns the statistics of one version, of a model's served versions, or, without a name, of all models."""
        if request.version:
            entries = [model_names.resolve(self._catalog, request.name, request.version).entry]
        else:
            model = model_names.resolve(self._catalog, request.name, "").entry.name if request.name else ""
            ready = (entry for entry in self._catalog.entries() if entry.state is ModelState.READY)
            entries = [entry for entry in ready if not model or entry.name == model]
        stats = [
            await self._statistics.read(entry.name, entry.version, request.name or entry.name) for entry in entries
        ]
        return kserve.ModelStatisticsResponse(model_stats=stats)

    async def RepositoryIndex(
        self, request: kserve.RepositoryIndexRequest, context: "Context"
    ) -> kserve.RepositoryIndexResponse:
        """Lists the versions in the repository."""
        return repository_index.index(self._catalog, request.ready)

    async def RepositoryModelLoad(
        self, request: kserve.RepositoryModelLoadRequest, context: "Context"
    ) -> kserve.RepositoryModelLoadResponse:
        """Loads the versions of a model that are not served yet."""
        if request.parameters:
            raise InvalidArgument("parameters", "a model is loaded as the repository has it: send no parameters")
        await self._model_manager.load_model(model_names.engine_model_name(self._catalog, request.model_name))
        return kserve.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: kserve.RepositoryModelUnloadRequest, context: "Context"
    ) -> kserve.RepositoryModelUnloadResponse:
        """Stops serving a model."""
        await self._model_manager.unload_model(model_names.engine_model_name(self._catalog, request.model_name))
        return kserve.RepositoryModelUnloadResponse()
