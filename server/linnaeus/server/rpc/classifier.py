"""The servicer of linnaeus.v1.ClassifierService."""

import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from linnaeus.server.engine.engine import Engine
from linnaeus.server.rpc.classify_batch import classify_batch
from linnaeus.server.rpc.messages import (
    to_classify_response,
    to_latencies,
    to_model,
    to_prediction_error,
    to_request,
)
from linnaeus.server.rpc.stream_classify import ClassifyStream
from linnaeus.server.security.charging import Charge, no_charge
from linnaeus.server.security.current_caller import current_caller
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

NAME = v1.DESCRIPTOR.services_by_name["ClassifierService"].full_name

if TYPE_CHECKING:
    from linnaeus.v1.classifier_pb2_grpc import _ServicerContext as Context


class ClassifierServicer(v1_grpc.ClassifierServiceServicer):
    """Translates calls to the engine's interface; `InterceptedServer` maps the engine's errors to statuses.

    Args:
        engine: classifies the images.
        limits: the limits that ListModels reports, and those of batches and streams.
        version: the server's release.
        clock: the engine's clock.
        charge: charges the images of a call beyond the first.
    """

    def __init__(
        self,
        engine: Engine,
        limits: v1.ServerLimits,
        version: str,
        clock: Callable[[], float] = time.monotonic,
        charge: Charge = no_charge,
    ) -> None:
        self._engine = engine
        self._charge = charge
        self._limits = limits
        self._version = version
        self._clock = clock

    async def Classify(self, request: v1.ClassifyRequest, context: "Context") -> v1.ClassifyResponse:
        """Classifies one image."""
        remaining_seconds = context.time_remaining()
        deadline = None if remaining_seconds is None else self._clock() + remaining_seconds
        answer = await self._engine.classify(to_request(request, deadline, current_caller()))
        return to_classify_response(answer, request.image.id)

    async def ListModels(self, request: v1.ListModelsRequest, context: "Context") -> v1.ListModelsResponse:
        """Lists every version in the catalog."""
        models = [to_model(entry, self._engine.catalog) for entry in self._engine.catalog.entries()]
        return v1.ListModelsResponse(models=models, limits=self._limits, server_version=self._version)

    async def GetModel(self, request: v1.GetModelRequest, context: "Context") -> v1.GetModelResponse:
        """Describes one version."""
        entry = self._engine.catalog.find(request.model, request.version)
        if entry.model is None:
            return v1.GetModelResponse(model=to_model(entry, self._engine.catalog))
        figures = await self._engine.figures(entry.lane)
        return v1.GetModelResponse(
            model=to_model(entry, self._engine.catalog),
            labels=entry.model.labels,
            batch_latencies=to_latencies(figures.batch_seconds),
            prediction_error=to_prediction_error(figures.prediction_error),
        )

    async def ClassifyBatch(self, request: v1.ClassifyBatchRequest, context: "Context") -> v1.ClassifyBatchResponse:
        """Classifies the images of one message."""
        max_images = self._limits.max_batch_images
        await self._charge(len(request.images) - 1)
        return await classify_batch(self._engine, request, self._deadline(context), max_images)

    async def StreamClassify(  # type: ignore[override]  # gRPC also accepts a coroutine that writes
        self, request_iterator: AsyncIterator[v1.StreamClassifyRequest], context: "Context"
    ) -> None:
        """Classifies images as they arrive; reads and writes concurrently."""
        window = self._limits.stream_window
        messages: Any = request_iterator  # `RequestMessages`, see `InterceptedServer`
        deadline = self._deadline(context)
        stream = ClassifyStream(self._engine, context, messages, deadline, window, self._clock, self._charge)
        await stream.serve()

    def _deadline(self, context: "Context") -> float | None:
        """Returns the call's deadline on the engine's clock; None for no deadline."""
        remaining_seconds = context.time_remaining()
        return None if remaining_seconds is None else self._clock() + remaining_seconds
