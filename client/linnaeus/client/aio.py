"""The asyncio client: one channel over the shared core."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import grpc
import grpc.aio

from linnaeus.client.core import DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_TARGET, DEFAULT_TIMEOUT_SECONDS, Core
from linnaeus.client.images import ImageSource
from linnaeus.client.reading import read_classification, read_model, read_models
from linnaeus.client.results import Classification, ModelInfo
from linnaeus.v1 import classifier_pb2 as messages
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

if TYPE_CHECKING:
    from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class AsyncClient:
    """Names what is in a picture, without blocking the event loop.

        async with AsyncClient("localhost:8001") as client:
            results = await asyncio.gather(*(client.classify(path) for path in paths))

    Invariants:
        - it belongs to the event loop of its first call, and to that loop's thread;
        - many calls at once share one connection, made at the first call;
        - every call ends within its timeout, with an answer or a `LinnaeusError`;
        - a task that is cancelled cancels its call at the server, too;
        - what is too large is refused before it is sent.

    Args:
        target: `HOST:PORT`, or any gRPC target such as `unix:/run/linnaeus.sock`.
        timeout_seconds: how long a call may take; the server knows, and never runs a request that is late.
        max_message_bytes: the largest request.

    Raises:
        ValueError: one of them makes no sense.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        self._core = Core(target, timeout_seconds, max_message_bytes)
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls in flight are cancelled. May be called twice."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def classify(
        self,
        image: ImageSource,
        *,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        timeout_seconds: float | None = None,
        image_id: str = "",
    ) -> Classification:
        """Names what is in one picture.

        Args:
            image: a path, a file's content, an open binary file, a Pillow image, or a uint8 array of shape [H, W],
                [H, W, 1], [H, W, 3] or [H, W, 4]. Leave it alone until the call returns.
            model: its name; may be left out where the server has only one.
            version: None means the highest that is ready.
            top_k: how many classes to return; 0 leaves it to the server, which returns 5.
            timeout_seconds: how long this call may take, from when the picture is read; None means the client's.
            image_id: returned with the answer.

        Raises:
            LinnaeusError: there is no answer; see `linnaeus.client.errors` for the kinds.
        """
        request = await self._request(image, model, version, top_k, image_id)
        return read_classification(await self._call(self._stub().Classify, request, timeout_seconds))

    async def models(self) -> tuple[ModelInfo, ...]:
        """Lists every model version the server knows, also those it refused to serve; without labels.

        Raises:
            LinnaeusError: there is no answer.
        """
        return read_models(await self._call(self._stub().ListModels, messages.ListModelsRequest(), None))

    async def model(self, name: str, version: int | str | None = None) -> ModelInfo:
        """Describes one model version, labels included; None means the highest that is ready.

        Raises:
            LinnaeusError: there is no answer; `ModelNotFound` where there is no such model.
        """
        return read_model(await self._call(self._stub().GetModel, self._core.model_request(name, version), None))

    async def _request(
        self, image: ImageSource, model: str, version: int | str | None, top_k: int, image_id: str
    ) -> messages.ClassifyRequest:
        """Reads files and converts pictures beside the event loop; bytes are not worth a thread."""

        def build() -> messages.ClassifyRequest:
            return self._core.classify_request(image, model=model, version=version, top_k=top_k, image_id=image_id)

        return build() if isinstance(image, bytes) else await asyncio.to_thread(build)

    def _stub(self) -> "ClassifierServiceAsyncStub":
        """The channel is made here, not in the constructor, because it is bound to the loop that runs now."""
        if self._closed:
            raise RuntimeError("this AsyncClient is closed: make a new one")
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._core.target, options=self._core.channel_options)
        return ClassifierServiceStub(self._channel)

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout_seconds: float | None,
    ) -> Response:
        try:
            return await method(request, timeout=self._core.call_timeout(timeout_seconds))
        except grpc.RpcError as failure:
            raise self._core.error(failure, timeout_seconds) from None
