# Generated from ../aio/client.py by `make sync-client`. Do not edit.
"""The blocking client: its public methods, and how one call is made."""

import os
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import grpc

from linnaeus.client.bulk.batch import Batch
from linnaeus.client.bulk.concurrency_window import DEFAULT_CONCURRENCY, check_concurrency, check_images
from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.bulk.stream_messages import DEFAULT_STREAM_CONCURRENCY
from linnaeus.client.config import DEFAULT_TARGET, DEFAULT_TIMEOUT_SECONDS, LOAD_TIMEOUT_SECONDS, make_config
from linnaeus.client.errors import LinnaeusError, ServerFailure
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.protocol import requests
from linnaeus.client.protocol.requests import RequestOptions
from linnaeus.client.protocol.responses import read_classification, read_listed_model, read_model, read_models
from linnaeus.client.results import Classification, ModelInfo
from linnaeus.client.sync.call_group import CallGroup
from linnaeus.client.sync.connection import Connection
from linnaeus.client.sync.hedged_call import hedged_call
from linnaeus.client.sync.many import Images, classify_many, folder_images
from linnaeus.client.sync.refused_call import refused_call
from linnaeus.client.sync.stream import classify_stream
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.hedging import HedgeCounts, Hedger, Hedging
from linnaeus.client.transport.message_size import check_message_size
from linnaeus.client.transport.tls import Tls
from linnaeus.client.transport.tokens import read_token
from linnaeus.v1 import classifier_pb2 as messages

Request = TypeVar("Request")
Response = TypeVar("Response")
ClassifyMethod: TypeAlias = "grpc.UnaryUnaryMultiCallable[messages.ClassifyRequest, messages.ClassifyResponse]"


class Client:
    """Classifies images; every call blocks until its answer.

        with Client("localhost:8001") as client:
            result = client.classify("cat.jpg", model="efficientnet_lite0", top_k=5)
            print(result.top.label, result.top.probability)

    Invariants:
        - any thread may use the client; many calls at once share one connection to each server, made at the first call;
        - every call ends within its timeout, with an answer or a `LinnaeusError`;
        - a call that changes nothing is retried up to three times within its timeout if a server cannot be reached or
          stops, and as often if the server refuses it and says when to retry. Other failures are not retried;
        - a call that loads, unloads or chooses models is sent once;
        - a request that is too large is refused before it is sent.

    Args:
        target: `HOST:PORT`, any gRPC target such as `unix:/run/linnaeus.sock`, or several servers that take turns: a
            list of `HOST:PORT`, `dns:///NAME:PORT` for all addresses of a name, or `ipv4:A:PORT,B:PORT`. The names in
            a list are looked up once, at the first call; gRPC looks up a `dns:///NAME` again whenever it loses a
            server.
        timeout_seconds: the timeout of a call, its retries included. The server knows it and never runs a request that
            is late.
        max_message_bytes: the largest request, if that is less than what the server accepts. The server is asked for
            its limit before the first request above 1 MiB.
        tls: True for an encrypted connection to a server whose certificate gRPC's bundled authorities have signed, or
            a `Tls` value.
        token: sent as `authorization: Bearer TOKEN`; without `tls` only to this machine.
        token_file: a file that holds only the token, instead of `token`; read by the constructor.
        hedging: True, or a `Hedging` value: sends a second attempt if an answer is late; see there.

    Raises:
        ValueError: if an argument is out of range or contradicts another.
    """

    def __init__(
        self,
        target: str | Sequence[str] = DEFAULT_TARGET,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_message_bytes: int | None = None,
        tls: Tls | bool = False,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        hedging: Hedging | bool = False,
    ) -> None:
        self._config = make_config(
            target,
            timeout_seconds=timeout_seconds,
            max_message_bytes=max_message_bytes,
            tls=tls,
            token=read_token(token, token_file),
            hedging=hedging,
        )
        self._connection_lock = threading.Lock()  # held for an instant only, never during a look-up
        self._connection: Connection | None = None
        self._is_closed = False
        self._limit_query = Lock()
        self._calls = CallGroup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in flight end with an error. May be called twice."""
        with self._connection_lock:
            self._is_closed = True
        self._calls.cancel()
        if self._connection is not None:
            self._connection.close()

    @property
    def hedges(self) -> HedgeCounts:
        """What hedging has done so far; zeros without hedging."""
        return self._config.hedges

    def classify(
        self,
        image: ImageSource,
        *,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        priority: str | None = None,
        timeout_seconds: float | None = None,
        image_id: str = "",
    ) -> Classification:
        """Classifies one image.

        Args:
            image: a path, a file's content, an open binary file, a Pillow image, or a uint8 array of shape [H, W],
                [H, W, 1], [H, W, 3] or [H, W, 4]. Do not modify it until the call returns.
            model: the model's name; may be omitted if the server has only one.
            version: a number or a label; None for the default version.
            top_k: the number of classes to return; 0 for the server's default, which is 5.
            priority: "high", "normal" or "low", which matters to an overloaded server; None for normal.
            timeout_seconds: the timeout of this call, from when the image is read; None for the client's.
            image_id: returned with the answer.

        Raises:
            LinnaeusError: if there is no answer; `linnaeus.client.errors` lists the kinds.
        """
        request = self._build_request(image, RequestOptions(model, version, top_k, priority), image_id)
        return read_classification(self._classify(request, timeout_seconds))

    def models(self) -> tuple[ModelInfo, ...]:
        """Lists every model version that the server knows, refused ones included; without labels.

        Raises:
            LinnaeusError: if there is no answer.
        """
        response = self._list_models(self._config.deadline(None))
        return read_models(response.models)

    def model(self, name: str, version: int | str | None = None) -> ModelInfo:
        """Describes one model version with its labels.

        Args:
            name: the model's name.
            version: a number or a label; None for the default version.

        Raises:
            ModelNotFound: if the server has no such model or version.
            LinnaeusError: if there is no answer for another reason.
        """
        request, deadline = requests.get_model_request(name, version), self._config.deadline(None)
        connection = self._connect()
        return read_model(self._call(connection.classifier.GetModel, request, deadline))

    def load_model(self, model: str, *, timeout_seconds: float = LOAD_TIMEOUT_SECONDS) -> tuple[ModelInfo, ...]:
        """Makes the server load the versions of a model that it does not serve yet.

        The server loads them to the end even if the call times out.

        Returns:
            All versions of the model.

        Raises:
            ModelRefused: if a version was refused; versions that were served before are still served.
            ModelNotFound: if the repository has no such model.
            LinnaeusError: if there is no answer for another reason.
        """
        request, deadline = requests.load_model_request(model), self._config.deadline(timeout_seconds)
        connection = self._connect()
        response = self._send(connection.models.LoadModel, request, deadline)
        return read_models(response.models)

    def reload_model(self, model: str, *, timeout_seconds: float = LOAD_TIMEOUT_SECONDS) -> tuple[ModelInfo, ...]:
        """Makes the server load a model anew beside the old one; returns when the new one answers the calls.

        Returns:
            All versions of the model.

        Raises:
            ModelRefused: if a version was refused; versions that were served before are still served.
            ModelNotFound: if the repository has no such model.
            LinnaeusError: if there is no answer for another reason.
        """
        request, deadline = requests.reload_model_request(model), self._config.deadline(timeout_seconds)
        connection = self._connect()
        response = self._send(connection.models.ReloadModel, request, deadline)
        return read_models(response.models)

    def unload_model(
        self, model: str, version: int | str | None = None, *, timeout_seconds: float = LOAD_TIMEOUT_SECONDS
    ) -> tuple[ModelInfo, ...]:
        """Makes the server stop serving a version, or all versions if it is None; returns when their calls have ended.

        Returns:
            All versions of the model.

        Raises:
            ModelNotFound: if the server has no such model or version.
            LinnaeusError: if there is no answer for another reason.
        """
        request, deadline = requests.unload_model_request(model, version), self._config.deadline(timeout_seconds)
        connection = self._connect()
        response = self._send(connection.models.UnloadModel, request, deadline)
        return read_models(response.models)

    def set_default_version(self, model: str, version: int | str | None = None) -> ModelInfo:
        """Sets the version that answers calls without a version; returns it.

        Args:
            model: the model's name.
            version: a number or a label; None for the version in the model's config.toml, or else the highest version
                that is ready.

        Raises:
            ModelNotFound: if that version is not served.
            LinnaeusError: if there is no answer for another reason.
        """
        request, deadline = requests.set_default_version_request(model, version), self._config.deadline(None)
        connection = self._connect()
        response = self._send(connection.models.SetDefaultVersion, request, deadline)
        return read_listed_model(response.model)

    def classify_many(
        self,
        images: Images,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = True,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Generator[Outcome, None, None]:
        """Classifies many images, several at a time; an image that fails does not affect the others.

            for outcome in client.classify_many(Path("pictures").glob("*.jpg")):
                print(outcome.name, outcome.result.top.label if outcome.result else outcome.error)

        Invariants:
            - every image has one `Outcome` with an answer or an error; `Outcome.unwrap` raises the error;
            - at most `concurrency` images are read whose outcomes the caller has not taken, so memory is bounded
              however many there are; a caller that takes no outcomes stops the reading;
            - leaving the loop, or `close()`, cancels the calls in flight, at the server too;
            - an error raised by `images` itself is raised here, after the outcomes of the images before it.

        Args:
            images: images of any kind that `classify` takes, read in the caller's thread, between two outcomes.
            concurrency: the maximum number of images in flight.
            ordered: True for outcomes in the order of the images, False for outcomes as they come.
            model: the model's name; may be omitted if the server has only one.
            version: a number or a label; None for the default version.
            top_k: the number of classes to return; 0 for the server's default, which is 5.
            priority: "high", "normal" or "low", which matters to an overloaded server; None for normal.
            timeout_seconds: the timeout of each image; None for the client's.

        Raises:
            ValueError: if `concurrency` or `timeout_seconds` is out of range.
            TypeError: if `images` is a single image or not iterable.
        """
        self._config.call_timeout(timeout_seconds)
        check_concurrency(concurrency)
        options = RequestOptions(model, version, top_k, priority)

        def classify(image: ImageSource, calls: CallGroup) -> Classification:
            request = self._build_request(image, options)
            return read_classification(self._classify(request, timeout_seconds, calls))

        return classify_many(check_images(images), classify, concurrency=concurrency, ordered=ordered)

    def classify_batch(
        self,
        images: Iterable[ImageSource],
        *,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> list[Outcome]:
        """Classifies many images in as few calls as possible; an image that fails does not affect the others.

            for outcome in client.classify_batch(paths, model="lenet"):
                print(outcome.name, outcome.result.top.label if outcome.result else outcome.error)

        For small images and fast models, most of a call's cost is the call itself: one call with 32 images takes a
        fraction of the time of 32 calls. All answers come at once; for an unbounded number of images see
        `classify_stream`.

        Invariants:
            - every image has one `Outcome`, in the order of the images; if a call fails, all its images have its error;
            - an image that was answered is never sent again; one that the server refused is retried like any call.

        Args:
            images: images of any kind that `classify` takes; read call by call.
            model: the model's name; may be omitted if the server has only one.
            version: a number or a label; None for the default version.
            top_k: the number of classes to return; 0 for the server's default, which is 5.
            priority: "high", "normal" or "low", which matters to an overloaded server; None for normal.
            timeout_seconds: the timeout of all calls together; None for the client's.

        Raises:
            ValueError: if `timeout_seconds` is out of range.
            TypeError: if `images` is a single image or not iterable.
        """
        deadline = self._config.deadline(timeout_seconds)
        options = RequestOptions(model, version, top_k, priority)
        batch = Batch(self._config, check_images(images), options, deadline)
        self._prefetch_limits(deadline)
        while (request := batch.next_request()) is not None:
            self._calls.pause(batch.delay_seconds)
            try:
                connection = self._connect()
                batch.handle_response(self._send(connection.classifier.ClassifyBatch, request, deadline))
            except LinnaeusError as error:
                batch.handle_error(error)
        return batch.outcomes

    def classify_stream(
        self,
        images: Images,
        *,
        concurrency: int = DEFAULT_STREAM_CONCURRENCY,
        ordered: bool = True,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Generator[Outcome, None, None]:
        """Classifies many images over one call; an image that fails does not affect the others.

        Like `classify_many`, but all images go to one server over one stream. With as many images in flight that is
        about as quick as a call for each; for small images and fast models `classify_batch` is two to three times as
        quick. If that server stops or is lost, the images without an answer are sent to another one, provided that the
        stream had answered any before.

        Invariants:
            - those of `classify_many`, but images are not hedged, and an image that is refused because the queue is
              full is not retried.

        Args:
            images: images of any kind that `classify` takes, read in the caller's thread, between two outcomes.
            concurrency: the maximum number of images in flight; the server accepts as many as its `stream_window`.
            ordered: True for outcomes in the order of the images, False for outcomes as they come.
            model: the model's name; may be omitted if the server has only one.
            version: a number or a label; None for the default version.
            top_k: the number of classes to return; 0 for the server's default, which is 5.
            priority: "high", "normal" or "low", which matters to an overloaded server; None for normal.
            timeout_seconds: the timeout of each image; None for the client's.

        Raises:
            ValueError: if `concurrency` or `timeout_seconds` is out of range.
            TypeError: if `images` is a single image or not iterable.
        """
        seconds = self._config.call_timeout(timeout_seconds)
        check_concurrency(concurrency)
        options = RequestOptions(model, version, top_k, priority)

        def build(image: ImageSource) -> messages.ClassifyRequest:
            request = self._build_request(image, options)
            self._check_server_limit(request, self._config.deadline(seconds))
            return request

        return classify_stream(
            check_images(images),
            build,
            self._connect,
            self._config,
            concurrency=concurrency,
            ordered=ordered,
            timeout_seconds=seconds,
        )

    def classify_folder(
        self,
        folder: str | os.PathLike[str],
        *,
        recursive: bool = False,
        pattern: str | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = True,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Generator[Outcome, None, None]:
        """Classifies the images of a folder as `classify_many` does; `Outcome.source` is the path.

        Args:
            folder: the folder's path. Hidden files and folders are ignored.
            recursive: whether to include subfolders.
            pattern: such as `IMG_*.jpg`, matched against the file's name; None for every file with the suffix of an
                image: bmp, gif, jpeg, jpg, png or webp.
            concurrency: the maximum number of images in flight.
            ordered: True for outcomes sorted by path, False for outcomes as they come.
            model: the model's name; may be omitted if the server has only one.
            version: a number or a label; None for the default version.
            top_k: the number of classes to return; 0 for the server's default, which is 5.
            priority: "high", "normal" or "low", which matters to an overloaded server; None for normal.
            timeout_seconds: the timeout of each image; None for the client's.

        Raises:
            ValueError: if `concurrency` or `timeout_seconds` is out of range.
            InvalidImage: if the folder is missing or holds no image.
        """
        return self.classify_many(
            folder_images(folder, recursive=recursive, pattern=pattern),
            concurrency=concurrency,
            ordered=ordered,
            model=model,
            version=version,
            top_k=top_k,
            priority=priority,
            timeout_seconds=timeout_seconds,
        )

    def _build_request(
        self, image: ImageSource, options: RequestOptions, image_id: str = ""
    ) -> messages.ClassifyRequest:
        """Reads and converts the image."""
        limit_bytes = self._config.limit.bytes
        build = partial(requests.classify_request, image, options, image_id=image_id, limit_bytes=limit_bytes)
        return build()

    def _classify(
        self, request: messages.ClassifyRequest, timeout_seconds: float | None, calls: CallGroup | None = None
    ) -> messages.ClassifyResponse:
        deadline = self._config.deadline(timeout_seconds)
        self._check_server_limit(request, deadline)
        connection = self._connect()
        method = connection.classifier.Classify if calls is None else calls.wrap(connection.classifier.Classify)
        if self._config.hedger is None:
            return self._call(method, request, deadline, calls)
        return self._call_hedged(method, request, deadline, self._config.hedger, calls)

    def _check_server_limit(self, request: messages.ClassifyRequest, deadline: Deadline) -> None:
        """Checks a large request against the server's limit, which is queried once for all calls.

        A call whose deadline passes while another one queries the limit goes on, and then fails with that deadline.

        Raises:
            InvalidImage: if the request is too large.
            LinnaeusError: if the server does not answer.
        """
        limit, size_bytes = self._config.limit, request.ByteSize()
        if not limit.must_query(size_bytes):
            return
        is_acquired = self._limit_query.acquire(timeout=deadline.remaining_seconds)
        try:
            if limit.must_query(size_bytes):
                self._query_server_limits(deadline)
        finally:
            if is_acquired:
                self._limit_query.release()
        check_message_size(size_bytes, limit.bytes)

    def _prefetch_limits(self, deadline: Deadline) -> None:
        """Queries the server's limits unless they are known. If that fails, the next call reports why."""
        with suppress(LinnaeusError):
            if not self._config.limit.server_is_known:
                self._query_server_limits(deadline)

    def _query_server_limits(self, deadline: Deadline) -> None:
        """Queries the server's limits; assumes the defaults of a server that does not implement ListModels."""
        try:
            response = self._list_models(deadline)
            limits = response.limits
        except ServerFailure:
            limits = messages.ServerLimits()
        self._config.limit.set_server_limits(limits.max_message_bytes, limits.max_batch_images)

    def _list_models(self, deadline: Deadline) -> messages.ListModelsResponse:
        connection = self._connect()
        return self._call(connection.classifier.ListModels, messages.ListModelsRequest(), deadline)

    def _connect(self) -> Connection:
        """Returns the connection, which the first call opens.

        Names may need a look-up.

        Raises:
            RuntimeError: if the client is closed.
            Unavailable: if no name in a list of servers has an address.
        """
        target = ""
        if self._connection is None and not self._is_closed:
            target = self._config.addresses.grpc_target()
        # Meanwhile another call may have connected, or the client may have been closed.
        with self._connection_lock:
            if self._is_closed:
                raise RuntimeError("this Client is closed: make a new one")
            if self._connection is None:
                self._connection = Connection(target, self._config)
            return self._connection

    def _call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        deadline: Deadline,
        calls: CallGroup | None = None,
    ) -> Response:
        """Makes a call that changes nothing."""
        send, pause = partial(self._send, method, request, deadline), partial(self._pause, calls)
        return refused_call(send, pause, self._config.retry_budget, deadline, send_again=send)

    def _call_hedged(
        self,
        method: ClassifyMethod,
        request: messages.ClassifyRequest,
        deadline: Deadline,
        hedger: Hedger,
        calls: CallGroup | None,
    ) -> messages.ClassifyResponse:
        """Makes a call with a second attempt if the first is late. A server that refuses it gets no second ones."""
        send = partial(self._send_hedged, method, request, deadline, hedger)
        send_again, pause = partial(self._send, method, request, deadline), partial(self._pause, calls)
        return refused_call(send, pause, self._config.retry_budget, deadline, send_again=send_again)

    def _pause(self, calls: CallGroup | None, seconds: float) -> bool:
        """Waits before a call is sent again; returns False if the call or the client is closed."""
        return (calls or self._calls).pause(seconds) and not self._is_closed

    def _send(
        self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", request: Request, deadline: Deadline
    ) -> Response:
        """Sends a request once; gRPC retries what `retry_policy` names."""
        try:
            return method(request, timeout=deadline.remaining_seconds, metadata=self._config.metadata)
        except grpc.RpcError as failure:
            raise self._config.rpc_error(failure, deadline.timeout_seconds) from None

    def _send_hedged(
        self, method: ClassifyMethod, request: messages.ClassifyRequest, deadline: Deadline, hedger: Hedger
    ) -> messages.ClassifyResponse:
        def send() -> Any:
            return method.future(request, timeout=deadline.remaining_seconds, metadata=self._config.metadata)

        try:
            response: messages.ClassifyResponse = hedged_call(send, hedger, request.model)
            return response
        except grpc.RpcError as failure:
            raise self._config.rpc_error(failure, deadline.timeout_seconds) from None
