"""`classify_stream` on an event loop: many images over one StreamClassify call; `sync/stream.py` does it in threads."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc

from linnaeus.client.aio.call_group import CallGroup
from linnaeus.client.aio.connection import Connection
from linnaeus.client.aio.many import Images, classify_many
from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.bulk.stream_messages import StreamEnd, read_stream_response, stream_end, stream_request
from linnaeus.client.config import ClientConfig
from linnaeus.client.errors import LinnaeusError, Unavailable
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import Classification
from linnaeus.v1 import classifier_pb2 as messages

# Builds an image's request.
Build = Callable[[ImageSource], Awaitable[messages.ClassifyRequest]]
# Opens a stream that sends the messages of the iterator; returns gRPC's call.
OpenStream = Callable[[AsyncIterator[messages.StreamClassifyRequest]], Any]
_SendQueue = asyncio.Queue[messages.StreamClassifyRequest | None]


async def classify_stream(
    images: Images,
    build: Build,
    connect: Callable[[], Awaitable[Connection]],
    config: ClientConfig,
    *,
    concurrency: int,
    ordered: bool,
    timeout_seconds: float,
) -> AsyncGenerator[Outcome, None]:
    """Classifies every image; `AsyncClient.classify_stream` documents the arguments and the promises.

    Args:
        images: the images.
        build: builds an image's request.
        connect: returns the client's connection.
        config: the client's.
        concurrency: the maximum number of images in flight.
        ordered: whether outcomes are yielded in the order of the images.
        timeout_seconds: of each image.
    """
    classifier = (await connect()).classifier

    def open_stream(requests: AsyncIterator[messages.StreamClassifyRequest]) -> Any:
        return classifier.StreamClassify(requests, metadata=config.metadata)

    stream = Stream(config, open_stream, timeout_seconds)

    async def classify(image: ImageSource, calls: CallGroup) -> Classification:
        return await stream.classify(await build(image))

    try:
        async with aclosing(classify_many(images, classify, concurrency=concurrency, ordered=ordered)) as outcomes:
            async for outcome in outcomes:
                yield outcome
    finally:
        await stream.close()


@dataclass(frozen=True, slots=True)
class _Pending:
    """A message without an answer."""

    message: messages.StreamClassifyRequest
    answer: "asyncio.Future[Classification]"


class Stream:
    """Sends images over one stream, or over another one if that is lost.

    Invariants:
        - every image has an answer or an error, at the latest at its deadline;
        - an image that was answered is never sent again; one without an answer is, if its stream is lost after it had
          answered others;
        - after `close` no task is left, and the call is cancelled at the server.

    Args:
        config: the client's.
        open_stream: see `OpenStream`.
        timeout_seconds: of each image.
    """

    def __init__(self, config: ClientConfig, open_stream: OpenStream, timeout_seconds: float) -> None:
        self._config = config
        self._open_stream = open_stream
        self._timeout_seconds = timeout_seconds
        self._last_id = 0
        self._pending: dict[int, _Pending] = {}
        self._to_send: _SendQueue = asyncio.Queue()
        self._receiver: asyncio.Task[None] | None = None
        self._is_open = False

    async def classify(self, request: messages.ClassifyRequest) -> Classification:
        """Sends an image and waits for its answer.

        Raises:
            LinnaeusError: if there is none.
        """
        self._last_id += 1
        correlation_id = self._last_id
        message = stream_request(request, correlation_id, self._timeout_seconds)
        pending = _Pending(message, asyncio.get_running_loop().create_future())
        self._pending[correlation_id] = pending
        if not self._is_open:
            self._open()
        self._to_send.put_nowait(message)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await pending.answer
        except TimeoutError:
            raise self._config.deadline_error(self._timeout_seconds) from None
        finally:
            del self._pending[correlation_id]

    async def close(self) -> None:
        """Cancels the stream, at the server too."""
        if self._receiver is not None:
            self._receiver.cancel()
            await asyncio.gather(self._receiver, return_exceptions=True)

    def _open(self) -> None:
        self._is_open = True
        self._to_send = asyncio.Queue()
        call = self._open_stream(_messages(self._to_send))
        self._receiver = asyncio.create_task(self._receive(call, self._to_send))

    async def _receive(self, call: Any, to_send: _SendQueue) -> None:
        was_answered, failure = False, None
        try:
            async for response in call:
                was_answered = True
                self._handle_response(response)
        except grpc.RpcError as error:
            failure = error
        except asyncio.CancelledError:
            self._handle_end(StreamEnd(False, Unavailable("the client was closed before there was an answer")))
            raise
        finally:
            call.cancel()
            to_send.put_nowait(None)  # ends gRPC's task, which waits for another message
        self._handle_end(
            stream_end(self._config, failure, was_answered=was_answered, timeout_seconds=self._timeout_seconds)
        )

    def _handle_response(self, response: messages.StreamClassifyResponse) -> None:
        pending = self._pending.get(response.correlation_id)
        if pending is None or pending.answer.done():
            return  # its deadline has passed
        answer = read_stream_response(self._config, response, self._timeout_seconds)
        if isinstance(answer, LinnaeusError):
            pending.answer.set_exception(answer)
        else:
            pending.answer.set_result(answer)

    def _handle_end(self, end: StreamEnd) -> None:
        self._is_open = False
        unanswered = [pending for pending in self._pending.values() if not pending.answer.done()]
        if end.resend and self._has_resent(unanswered):
            return
        for pending in unanswered:
            pending.answer.set_exception(end.error)

    def _has_resent(self, unanswered: list[_Pending]) -> bool:
        """Sends the images over another stream; returns False if the client is closed."""
        if unanswered:
            try:
                self._open()
            except grpc.aio.UsageError:
                return False
            for pending in unanswered:
                self._to_send.put_nowait(pending.message)
        return True


async def _messages(to_send: _SendQueue) -> AsyncGenerator[messages.StreamClassifyRequest, None]:
    while (message := await to_send.get()) is not None:
        yield message
