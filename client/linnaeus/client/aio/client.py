"""The asyncio client: one channel over the shared core."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import grpc
import grpc.aio

from linnaeus.client.aio.many import ManyImages, classify_many, folder_paths
from linnaeus.client.aio.stream import AsyncStream
from linnaeus.client.bulk.batch import Batch
from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.config import DEFAULT_TARGET, DEFAULT_TIMEOUT_SECONDS, LOAD_TIMEOUT_SECONDS, core_from
from linnaeus.client.errors import LinnaeusError, ServerFailure
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.protocol.responses import read_classification, read_listed_model, read_model, read_models
from linnaeus.client.results import Classification, ModelInfo
from linnaeus.client.sync.hedged_call import hedged_call_async
from linnaeus.client.sync.many import DEFAULT_CONCURRENCY, check_concurrency, check_images
from linnaeus.client.sync.stream import DEFAULT_STREAM_CONCURRENCY
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.hedging import HedgeCounts, Hedger, Hedging
from linnaeus.client.transport.tls import Tls, token_from
from linnaeus.v1 import classifier_pb2 as messages
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub, ModelServiceStub

if TYPE_CHECKING:
    from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceAsyncStub, ModelServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class AsyncClient:
    """Names what is in a picture, without blocking the event loop.

        async with AsyncClient("localhost:8001") as client:
            results = await asyncio.gather(*(client.classify(path) for path in paths))

    Invariants:
        - it belongs to the event loop of its first call, and to that loop's thread;
        - many calls at once share one connection to each server, made at the first call;
        - every call ends within its timeout, with an answer or a `LinnaeusError`;
        - a task that is cancelled cancels its call at the server, too;
        - a call that the server did not execute is sent again, up to three times and while its time lasts: when a
          server cannot be reached or stops, or says that its queue is full and when to come back. Nothing else is;
        - what is too large is refused before it is sent.

    Args:
        target: `HOST:PORT`, any gRPC target such as `unix:/run/linnaeus.sock`, or several servers that take turns: a
            list of `HOST:PORT`, `dns:///NAME:PORT` with all its addresses, or `ipv4:A:PORT,B:PORT`. The names in a
            list are looked up once, at the first call; gRPC looks up a `dns:///NAME` again whenever a server is lost.
        timeout_seconds: how long a call may take, its retries included; the server knows, and never runs a request
            that is late.
        max_message_bytes: the largest request, where that is less than what the server takes. The server is asked
            what it takes before the first request above 1 MiB.
        tls: True for an encrypted connection to a server that the usual authorities vouch for, or a `Tls` value.
        token: sent as `authorization: Bearer TOKEN`; without `tls` only to this machine.
        token_file: a file that holds the token and nothing else, in place of `token`; read now.
        hedging: True, or a `Hedging` value: a second attempt where an answer is late; see there.

    Raises:
        ValueError: one of them makes no sense.
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
        self._core = core_from(
            target,
            timeout_seconds=timeout_seconds,
            max_message_bytes=max_message_bytes,
            tls=tls,
            token=token_from(token, token_file),
            hedging=hedging,
        )
        self._asking = asyncio.Lock()
        self._channel: grpc.aio.Channel | None = None
        self._service: ClassifierServiceAsyncStub | None = None
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

    @property
    def hedges(self) -> HedgeCounts:
        """What hedging did so far; zeros without hedging."""
        return self._core.hedges

    async def classify(
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
        """Names what is in one picture.

        Args:
            image: a path, a file's content, an open binary file, a Pillow image, or a uint8 array of shape [H, W],
                [H, W, 1], [H, W, 3] or [H, W, 4]. Leave it alone until the call returns.
            model: its name; may be left out where the server has only one.
            version: a number or a label; None means the default.
            top_k: how many classes to return; 0 leaves it to the server, which returns 5.
            priority: "high", "normal" or "low", for a server that has too much to do; None is normal.
            timeout_seconds: how long this call may take, from when the picture is read; None means the client's.
            image_id: returned with the answer.

        Raises:
            LinnaeusError: there is no answer; see `linnaeus.client.errors` for the kinds.
        """
        request = await self._request(image, model, version, top_k, priority, image_id)
        return read_classification(await self._classify(request, timeout_seconds))

    async def models(self) -> tuple[ModelInfo, ...]:
        """Lists every model version the server knows, also those it refused to serve; without labels.

        Raises:
            LinnaeusError: there is no answer.
        """
        return read_models((await self._list(self._core.deadline(None))).models)

    async def model(self, name: str, version: int | str | None = None) -> ModelInfo:
        """Describes one model version, labels included; a number or a label; None means the default.

        Raises:
            LinnaeusError: there is no answer; `ModelNotFound` where there is no such model.
        """
        request, deadline = self._core.model_request(name, version), self._core.deadline(None)
        return read_model(await self._call((await self._stub()).GetModel, request, deadline))

    async def load_model(self, model: str, *, timeout_seconds: float = LOAD_TIMEOUT_SECONDS) -> tuple[ModelInfo, ...]:
        """Has the server load what it does not serve yet of a model; returns how all its versions stand.

        A call that is given up stops nothing: the server loads it to the end.

        Raises:
            ModelRefused: a version was refused; what was served before is served still.
            LinnaeusError: there is no answer; `ModelNotFound` where the repository has no such model.
        """
        request, deadline = self._core.load_request(model), self._core.deadline(timeout_seconds)
        return read_models((await self._call((await self._control()).LoadModel, request, deadline)).models)

    async def reload_model(self, model: str, *, timeout_seconds: float = LOAD_TIMEOUT_SECONDS) -> tuple[ModelInfo, ...]:
        """Has the server load a model anew, beside what it serves; returns once the calls have moved there.

        Raises:
            ModelRefused: a version was refused; what was served before is served still.
            LinnaeusError: there is no answer; `ModelNotFound` where the repository has no such model.
        """
        request, deadline = self._core.reload_request(model), self._core.deadline(timeout_seconds)
        return read_models((await self._call((await self._control()).ReloadModel, request, deadline)).models)

    async def unload_model(
        self, model: str, version: int | str | None = None, *, timeout_seconds: float = LOAD_TIMEOUT_SECONDS
    ) -> tuple[ModelInfo, ...]:
        """Has the server no longer serve a version, or all if it is None; returns once their calls are answered.

        Raises:
            LinnaeusError: there is no answer; `ModelNotFound` where there is no such model.
        """
        request, deadline = self._core.unload_request(model, version), self._core.deadline(timeout_seconds)
        return read_models((await self._call((await self._control()).UnloadModel, request, deadline)).models)

    async def set_default_version(self, model: str, version: int | str | None = None) -> ModelInfo:
        """Says which version answers calls that name none, a number or a label; returns it.

        None leaves it to the model's config.toml again, or else to the highest version that is ready.

        Raises:
            LinnaeusError: there is no answer; `ModelNotFound` where that version is not served.
        """
        request, deadline = self._core.default_request(model, version), self._core.deadline(None)
        return read_listed_model((await self._call((await self._control()).SetDefaultVersion, request, deadline)).model)

    def classify_many(
        self,
        images: ManyImages,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = True,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Names what is in each of many pictures, several at a time; one that fails ends nothing.

            async with contextlib.aclosing(client.classify_many(paths)) as outcomes:
                async for outcome in outcomes:
                    print(outcome.name, outcome.result.top.label if outcome.result else outcome.error)

        Invariants:
            - every picture has one `Outcome`, an answer or an error; `Outcome.unwrap` raises the error;
            - at most `concurrency` pictures are read whose outcomes were not taken yet, so that memory is bounded
              however many there are; who takes no outcomes holds back the reading;
            - `aclose()` cancels what is under way, at the server too, and so does leaving the loop; only `aclosing`
              says when;
            - an error raised by `images` itself is raised here, after the outcomes of what was read before it.

        Args:
            images: pictures of any kind that `classify` takes, from an iterable or an async iterable. What has to
                wait for its pictures should be async: a plain iterable is read on the event loop.
            concurrency: how many pictures may be under way at once.
            ordered: in the order of the pictures; False: as they come.
            model: its name; may be left out where the server has only one.
            version: a number or a label; None means the default.
            top_k: how many classes to return; 0 leaves it to the server, which returns 5.
            priority: "high", "normal" or "low", for a server that has too much to do; None is normal.
            timeout_seconds: how long each picture's call may take; None means the client's.

        Raises:
            ValueError: `concurrency` or `timeout_seconds` makes no sense.
            TypeError: `images` is one picture, or nothing that can be gone through.
        """
        self._core.call_timeout(timeout_seconds)

        async def ask(image: ImageSource) -> Classification:
            return await self.classify(
                image, model=model, version=version, top_k=top_k, priority=priority, timeout_seconds=timeout_seconds
            )

        check_concurrency(concurrency)
        return classify_many(check_images(images), ask, concurrency=concurrency, ordered=ordered)

    async def classify_batch(
        self,
        images: Iterable[ImageSource],
        *,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> list[Outcome]:
        """Names what is in each of many pictures with as few calls as they fit into; one that fails ends nothing.

            for outcome in await client.classify_batch(paths, model="lenet"):
                print(outcome.name, outcome.result.top.label if outcome.result else outcome.error)

        Where pictures are small and models quick, most of a call's cost is the call: one of 32 pictures takes a
        fraction of the time of 32. All answers come at once; see `classify_stream` for pictures without end.

        Invariants:
            - every picture has one `Outcome`, in their order; a call that fails is the error of all its pictures;
            - what was answered is never sent again; what the server refused is, like any call.

        Args:
            images: pictures of any kind that `classify` takes; read call by call, beside the event loop. Leave them
                alone until the call returns.
            model: its name; may be left out where the server has only one.
            version: a number or a label; None means the default.
            top_k: how many classes to return; 0 leaves it to the server, which returns 5.
            priority: "high", "normal" or "low", for a server that has too much to do; None is normal.
            timeout_seconds: how long all of it may take; None means the client's.

        Raises:
            ValueError: `timeout_seconds` makes no sense.
            TypeError: `images` is one picture, or nothing that can be gone through.
        """
        deadline = self._core.deadline(timeout_seconds)

        def build(image: ImageSource) -> messages.ClassifyRequest:
            return self._core.classify_request(
                image, model=model, version=version, top_k=top_k, priority=priority, image_id=""
            )

        batch = Batch(self._core, tuple(check_images(images)), build, deadline)
        await self._learn_limit(deadline)
        while (request := await asyncio.to_thread(batch.next_call)) is not None:
            await asyncio.sleep(batch.pause_seconds)
            try:
                batch.answered(await self._call((await self._stub()).ClassifyBatch, request, deadline))
            except LinnaeusError as error:
                batch.failed(error)
        return batch.outcomes

    def classify_stream(
        self,
        images: ManyImages,
        *,
        concurrency: int = DEFAULT_STREAM_CONCURRENCY,
        ordered: bool = True,
        model: str = "",
        version: int | str | None = None,
        top_k: int = 0,
        priority: str | None = None,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Names what is in each of many pictures over one call; one that fails ends nothing.

        As `classify_many` but for the way: all pictures go to one server, over one stream, which costs both sides less
        than a call for each. It suits many small pictures and quick models. Where that server stops or is lost, the
        pictures without an answer go on to another one, if the stream had answered any before.

        Invariants:
            - those of `classify_many`, but hedging, and a picture that is refused for a full queue is not sent again.

        Args:
            images: pictures of any kind that `classify` takes; from an iterable or an async iterable.
            concurrency: how many pictures may be under way at once; the server takes as many as its `stream_window`.
            ordered: in the order of the pictures; False: as they come.
            model: its name; may be left out where the server has only one.
            version: a number or a label; None means the default.
            top_k: how many classes to return; 0 leaves it to the server, which returns 5.
            priority: "high", "normal" or "low", for a server that has too much to do; None is normal.
            timeout_seconds: how long each picture may take; None means the client's.

        Raises:
            ValueError: `concurrency` or `timeout_seconds` makes no sense.
            TypeError: `images` is one picture, or nothing that can be gone through.
        """
        seconds = self._core.call_timeout(timeout_seconds)

        async def request(image: ImageSource) -> messages.ClassifyRequest:
            built = await self._request(image, model, version, top_k, priority, "")
            if self._core.must_ask_limit(built):
                await self._ask_limit(built, self._core.deadline(seconds))
            return built

        check_concurrency(concurrency)
        return self._streaming(check_images(images), request, concurrency, ordered, seconds)

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
    ) -> AsyncGenerator[Outcome, None]:
        """Names what is in each picture of a folder, sorted by path; `Outcome.source` is the path.

        The folder is listed when the first outcome is asked for; that there is no such folder, or no picture in it,
        is an `InvalidImage` raised there.

        Args:
            folder: its path. Hidden files and folders are left out.
            recursive: also the folders in it.
            pattern: such as `IMG_*.jpg`, matched against the file's name; None takes every file with the suffix of a
                picture: bmp, gif, jpeg, jpg, png or webp.
            concurrency: as in `classify_many`, as is all that follows.
            ordered: sorted by path; False: as they come.
            model: its name; may be left out where the server has only one.
            version: a number or a label; None means the default.
            top_k: how many classes to return; 0 leaves it to the server, which returns 5.
            priority: "high", "normal" or "low", for a server that has too much to do; None is normal.
            timeout_seconds: how long each picture's call may take; None means the client's.

        Raises:
            ValueError: `concurrency` or `timeout_seconds` makes no sense.
        """
        return self.classify_many(
            folder_paths(folder, recursive=recursive, pattern=pattern),
            concurrency=concurrency,
            ordered=ordered,
            model=model,
            version=version,
            top_k=top_k,
            priority=priority,
            timeout_seconds=timeout_seconds,
        )

    async def _request(
        self, image: ImageSource, model: str, version: int | str | None, top_k: int, priority: str | None, image_id: str
    ) -> messages.ClassifyRequest:
        """Reads files and converts pictures beside the event loop; bytes are not worth a thread."""

        def build() -> messages.ClassifyRequest:
            return self._core.classify_request(
                image, model=model, version=version, top_k=top_k, priority=priority, image_id=image_id
            )

        return build() if isinstance(image, bytes) else await asyncio.to_thread(build)

    async def _classify(
        self, request: messages.ClassifyRequest, timeout_seconds: float | None
    ) -> messages.ClassifyResponse:
        deadline = self._core.deadline(timeout_seconds)
        if self._core.must_ask_limit(request):
            await self._ask_limit(request, deadline)
        method = (await self._stub()).Classify
        if self._core.hedger is None:
            return await self._call(method, request, deadline)
        return await self._call_hedged(method, request, deadline, self._core.hedger)

    async def _streaming(
        self,
        images: ManyImages,
        request: Callable[[ImageSource], Awaitable[messages.ClassifyRequest]],
        concurrency: int,
        ordered: bool,
        timeout_seconds: float,
    ) -> AsyncGenerator[Outcome, None]:
        service = await self._stub()

        def open_stream(requests: AsyncIterator[messages.StreamClassifyRequest]) -> Any:
            return service.StreamClassify(requests, metadata=self._core.metadata)

        stream = AsyncStream(self._core, open_stream, timeout_seconds)

        async def ask(image: ImageSource) -> Classification:
            return await stream.ask(await request(image))

        try:
            async with aclosing(classify_many(images, ask, concurrency=concurrency, ordered=ordered)) as outcomes:
                async for outcome in outcomes:
                    yield outcome
        finally:
            await stream.close()

    async def _learn_limit(self, deadline: Deadline) -> None:
        """Asks what the server takes, once; where there is no answer, the call that follows will say why."""
        with suppress(LinnaeusError):
            if not self._core.limit.is_told:
                self._core.learn_limit(await self._told(deadline))

    async def _ask_limit(self, request: messages.ClassifyRequest, deadline: Deadline) -> None:
        """Asks once, however many calls want to know; whoever runs out of time meanwhile finds out by its own call."""
        asking = await self._acquire_asking(deadline)
        try:
            if self._core.must_ask_limit(request):
                self._core.learn_limit(await self._told(deadline))
        finally:
            if asking:
                self._asking.release()
        self._core.require_room(request)

    async def _acquire_asking(self, deadline: Deadline) -> bool:
        try:
            async with asyncio.timeout(deadline.left_seconds):
                return await self._asking.acquire()
        except TimeoutError:
            return False

    async def _told(self, deadline: Deadline) -> messages.ListModelsResponse | None:
        """What the server tells of itself; None where it does not know the question."""
        try:
            return await self._list(deadline)
        except ServerFailure:
            return None

    async def _list(self, deadline: Deadline) -> messages.ListModelsResponse:
        return await self._call((await self._stub()).ListModels, messages.ListModelsRequest(), deadline)

    async def _stub(self) -> "ClassifierServiceAsyncStub":
        """The channel is made here, not in the constructor, because it is bound to the loop that runs now."""
        addresses = self._core.addresses
        target = str(addresses)
        if self._channel is None and not self._closed:
            target = (
                await asyncio.to_thread(addresses.grpc_target) if addresses.need_lookup else addresses.grpc_target()
            )
        # Only now, when nothing else can happen in between: another call may have connected, or closed, meanwhile.
        if self._closed:
            raise RuntimeError("this AsyncClient is closed: make a new one")
        if self._service is None:
            self._channel = self._open_channel(target)
            self._service = ClassifierServiceStub(self._channel)
        return self._service

    async def _control(self) -> "ModelServiceAsyncStub":
        await self._stub()
        return ModelServiceStub(cast(grpc.aio.Channel, self._channel))

    def _open_channel(self, target: str) -> grpc.aio.Channel:
        options = self._core.channel_options
        if self._core.credentials is None:
            return grpc.aio.insecure_channel(target, options=options)
        return grpc.aio.secure_channel(target, self._core.credentials, options=options)

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, deadline: Deadline
    ) -> Response:
        try:
            return await method(request, timeout=deadline.left_seconds, metadata=self._core.metadata)
        except grpc.RpcError as failure:
            raise self._core.error(failure, deadline) from None

    async def _call_hedged(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[messages.ClassifyRequest, messages.ClassifyResponse]",
        request: messages.ClassifyRequest,
        deadline: Deadline,
        hedger: Hedger,
    ) -> messages.ClassifyResponse:
        def send() -> "grpc.aio.UnaryUnaryCall[messages.ClassifyRequest, messages.ClassifyResponse]":
            return method(request, timeout=deadline.left_seconds, metadata=self._core.metadata)

        try:
            return await hedged_call_async(send, hedger, request.model)
        except grpc.RpcError as failure:
            raise self._core.error(failure, deadline) from None
