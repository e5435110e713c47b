"""The GRPCInferenceService: passes each call to the module that implements it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.engine.engine import Engine
from linnaeus.server.errors import InvalidArgument, RequestError
from linnaeus.server.model_store.catalog import Catalog, ModelState
from linnaeus.server.rpc.kserve import metadata, model_config, model_names, repository_index
from linnaeus.server.rpc.kserve.model_infer import infer
from linnaeus.server.rpc.kserve.statistics import Statistics
from linnaeus.server.rpc.kserve.stream_infer import InferStream
from linnaeus.server.security.authorization import Charge, no_charge

NAME = kserve.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

if TYPE_CHECKING:
    from linnaeus.kserve.grpc_service_pb2_grpc import _ServicerContext as Context


class InferenceServicer(kserve_grpc.GRPCInferenceServiceServicer):
    """Translates; errors of the engine pass through to whoever watches the call.

    Args:
        engine: who classifies.
        statistics: what it has told so far.
        release: the server's.
        is_ready: whether the server is well, as its health says.
        model_manager: who loads and unloads models.
        clock: the engine's clock.
        charge: counts the images of a request but the first, which the call itself counts for.
    """

    def __init__(
        self,
        engine: Engine,
        statistics: Statistics,
        release: str,
        is_ready: Callable[[], bool],
        model_manager: repository_index.ModelControl,
        clock: Callable[[], float] = time.monotonic,
        charge: Charge = no_charge,
    ) -> None:
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
        return await self._infer(request, context, counted=1)

    async def _infer(
        self, request: kserve.ModelInferRequest, context: "Context", counted: int
    ) -> kserve.ModelInferResponse:
        now, remaining_seconds = self._clock(), context.time_remaining()
        deadline = None if remaining_seconds is None else now + remaining_seconds

        def charge(images: int) -> None:
            self._charge(context, images - counted)

        return await infer(self._engine, request, now, deadline, context.peer(), charge)

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[kserve.ModelInferRequest], context: "Context"
    ) -> AsyncIterator[kserve.ModelStreamInferResponse]:
        """Classifies the images of one request after the other."""
        stream = InferStream(request_iterator, lambda request: self._infer(request, context, counted=0))
        async with aclosing(stream.responses()) as responses:
            async for response in responses:
                yield response

    async def ServerLive(self, request: kserve.ServerLiveRequest, context: "Context") -> kserve.ServerLiveResponse:
        """Whoever can answer is alive."""
        return kserve.ServerLiveResponse(live=True)

    async def ServerReady(self, request: kserve.ServerReadyRequest, context: "Context") -> kserve.ServerReadyResponse:
        """Tells what the standard health service tells."""
        return kserve.ServerReadyResponse(ready=self._is_ready())

    async def ModelReady(self, request: kserve.ModelReadyRequest, context: "Context") -> kserve.ModelReadyResponse:
        """Whether a version is served."""
        try:
            entry = self._catalog.find(model_names.engine_model_name(self._catalog, request.name), request.version)
        except RequestError:
            return kserve.ModelReadyResponse(ready=False)
        return kserve.ModelReadyResponse(ready=entry.state is ModelState.READY)

    async def ServerMetadata(
        self, request: kserve.ServerMetadataRequest, context: "Context"
    ) -> kserve.ServerMetadataResponse:
        """Describes the server."""
        return metadata.server_metadata(self._release)

    async def ModelMetadata(
        self, request: kserve.ModelMetadataRequest, context: "Context"
    ) -> kserve.ModelMetadataResponse:
        """Describes a model's tensors."""
        subject = model_names.resolve(self._catalog, request.name, request.version)
        return metadata.model_metadata(self._catalog, subject, request.version)

    async def ModelConfig(self, request: kserve.ModelConfigRequest, context: "Context") -> kserve.ModelConfigResponse:
        """Describes how a model is run."""
        subject = model_names.resolve(self._catalog, request.name, request.version)
        return kserve.ModelConfigResponse(config=model_config.model_config(subject))

    async def ModelStatistics(
        self, request: kserve.ModelStatisticsRequest, context: "Context"
    ) -> kserve.ModelStatisticsResponse:
        """Tells a version's figures; without a version those of all that are served, without a name of all models."""
        if request.version:
            wanted = [model_names.resolve(self._catalog, request.name, request.version).entry]
        else:
            model = model_names.resolve(self._catalog, request.name, "").entry.name if request.name else ""
            ready = (entry for entry in self._catalog.entries() if entry.state is ModelState.READY)
            wanted = [entry for entry in ready if not model or entry.name == model]
        stats = [self._statistics.of(entry.name, entry.version, request.name or entry.name) for entry in wanted]
        return kserve.ModelStatisticsResponse(model_stats=stats)

    async def RepositoryIndex(
        self, request: kserve.RepositoryIndexRequest, context: "Context"
    ) -> kserve.RepositoryIndexResponse:
        """Lists what the repository holds."""
        return repository_index.index(self._catalog, request.ready)

    async def RepositoryModelLoad(
        self, request: kserve.RepositoryModelLoadRequest, context: "Context"
    ) -> kserve.RepositoryModelLoadResponse:
        """Loads a model, or what of it is not served."""
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
