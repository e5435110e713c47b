"""The blocking client: one channel over the shared core."""

from types import TracebackType
from typing import Self, TypeVar

import grpc

from linnaeus.client.core import DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_TARGET, DEFAULT_TIMEOUT_SECONDS, Core
from linnaeus.client.images import ImageSource
from linnaeus.client.reading import read_classification, read_model, read_models
from linnaeus.client.results import Classification, ModelInfo
from linnaeus.v1 import classifier_pb2 as messages
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class Client:
    """Names what is in a picture, and waits for it.

        with Client("localhost:8001") as client:
            result = client.classify("cat.jpg", model="efficientnet_lite0", top_k=5)
            print(result.top.label, result.top.probability)

    Invariants:
        - any thread may call it, many at once: they share one connection, made at the first call;
        - every call ends within its timeout, with an answer or a `LinnaeusError`;
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
        self._channel = grpc.insecure_channel(target, options=self._core.channel_options)
        self._stub = ClassifierServiceStub(self._channel)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in flight end with an error. May be called twice."""
        self._closed = True
        self._channel.close()

    def classify(
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
                [H, W, 1], [H, W, 3] or [H, W, 4].
            model: its name; may be left out where the server has only one.
            version: None means the highest that is ready.
            top_k: how many classes to return; 0 leaves it to the server, which returns 5.
            timeout_seconds: how long this call may take, from when the picture is read; None means the client's.
            image_id: returned with the answer.

        Raises:
            LinnaeusError: there is no answer; see `linnaeus.client.errors` for the kinds.
        """
        request = self._core.classify_request(image, model=model, version=version, top_k=top_k, image_id=image_id)
        return read_classification(self._call(self._stub.Classify, request, timeout_seconds))

    def models(self) -> tuple[ModelInfo, ...]:
        """Lists every model version the server knows, also those it refused to serve; without labels.

        Raises:
            LinnaeusError: there is no answer.
        """
        return read_models(self._call(self._stub.ListModels, messages.ListModelsRequest(), None))

    def model(self, name: str, version: int | str | None = None) -> ModelInfo:
        """Describes one model version, labels included; None means the highest that is ready.

        Raises:
            LinnaeusError: there is no answer; `ModelNotFound` where there is no such model.
        """
        return read_model(self._call(self._stub.GetModel, self._core.model_request(name, version), None))

    def _call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout_seconds: float | None,
    ) -> Response:
        if self._closed:
            raise RuntimeError("this Client is closed: make a new one")
        try:
            return method(request, timeout=self._core.call_timeout(timeout_seconds))
        except grpc.RpcError as failure:
            raise self._core.error(failure, timeout_seconds) from None
