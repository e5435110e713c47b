"""`classify_stream` on an event loop: many images over one StreamClassify call; `sync/stream.py` does it in threads."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from linnaeus.client.aio.call_group import CallGroup
from linnaeus.client.aio.connection import Connection
from linnaeus.client.aio.many import Images, classify_many
from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.bulk.stream_messages import (
    StreamEnd,
    StreamRetries,
    is_masked,
    read_stream_response,
    stream_request,
)
from linnaeus.client.config import ClientConfig
from linnaeus.client.errors import LinnaeusError, Unavailable
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import Classification
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.refusals import MAX_SENDS
from linnaeus.v1 import classifier_pb2 as messages

# Builds an image's request.
Build = Callable[[ImageSource], Awaitable[messages.ClassifyRequest]]
# Opens a stream that sends the messages of the iterator; returns gRPC's call.
OpenStream = Callable[[AsyncIterator[messages.StreamClassifyRequest]], Any]


async def classify_stream(
    images: Images,
    build: Build,
    connect: Callable[[Deadline], AbstractAsyncContextManager[Connection]],
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
        connect: takes one of the client's connections until it is left.
        config: the client's.
        concurrency: the maximum number of images in flight.
        ordered: whether outcomes are yielded in the order of the images.
        timeout_seconds: of each image.
    """
    async with connect(Deadline.after(timeout_seconds)) as connection:
        open_stream = partial(connection.classifier.StreamClassify, metadata=config.metadata)
        stream = Stream(config, open_stream, timeout_seconds)

        async def classify(image: ImageSource, calls: CallGroup) -> Classification:
            return await stream.classify(await build(image))

        try:
            async with aclosing(classify_many(images, classify, concurrency=concurrency, ordered=ordered)) as outcomes:
                async for outcome in outcomes:
                    yield outcome
        finally:
            await stream.close()


@dataclass(slots=True, eq=False)
class _Pending:
    """A message, until it has an answer; `sends` counts how often it was sent."""

    message: messages.StreamClassifyRequest
    deadline: Deadline
    answer: "asyncio.Future[Classification]"
    sends: int = 0


_SendQueue = asyncio.Queue[_Pending | None]


class Stream:
    """Sends images over one stream, or over another one if that is lost.

    Invariants:
        - every image has an answer or an error, at the latest at its deadline, which the server knows however often
          the image is sent;
        - an image that was answered is never sent again; one without an answer is sent at most `MAX_SENDS` times, so
          that an image that ends streams does so no more often;
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
        self._retries = StreamRetries(config, timeout_seconds)
        self._last_id = 0
        self._pending: dict[int, _Pending] = {}
        self._to_send: _SendQueue | None = None  # None while no stream is open
        self._hides_status = False
        self._runner: asyncio.Task[None] | None = None
        self._is_running = False

    async def classify(self, request: messages.ClassifyRequest) -> Classification:
        """Sends an image and waits for its answer.

        Raises:
            LinnaeusError: if there is none.
        """
        self._last_id += 1
        correlation_id = self._last_id
        answer = asyncio.get_running_loop().create_future()
        pending = _Pending(stream_request(request, correlation_id), Deadline.after(self._timeout_seconds), answer)
        self._pending[correlation_id] = pending
        if self._to_send is not None:
            _put(self._to_send, pending)
        elif not self._is_running:
            self._is_running = True
            self._runner = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await pending.answer
        except TimeoutError:
            raise self._config.deadline_error(self._timeout_seconds) from None
        finally:
            del self._pending[correlation_id]

    async def close(self) -> None:
        """Cancels the stream, at the server too."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)

    async def _run(self) -> None:
        """Opens one stream after another, until one ends and leaves no image to send again."""
        try:
            while self._unanswered():
                failure = await self._receive()
                self._hides_status = failure is not None and is_masked(failure)
                end = self._retries.stream_end(failure)
                self._fail(end)
                if self._unanswered():
                    await asyncio.sleep(end.resend_after_seconds or 0.0)
        except (asyncio.CancelledError, grpc.aio.UsageError):
            self._fail(StreamEnd(None, Unavailable("the client was closed before there was an answer")))
        finally:
            self._is_running = False

    async def _receive(self) -> grpc.RpcError | None:
        """Sends the images without an answer over a stream and receives until it ends; returns its error.

        If the last stream ended while it was sending and gRPC hid the server's status, one image is sent until there is
        an answer.
        """
        to_send: _SendQueue = asyncio.Queue()
        was_answered = asyncio.Event()
        if not self._hides_status:
            was_answered.set()
        call = self._open_stream(_messages(to_send, was_answered))
        for pending in self._unanswered():
            _put(to_send, pending)
        self._to_send = to_send
        try:
            async for response in call:
                was_answered.set()
                self._handle_response(response)
        except grpc.RpcError as error:
            return error
        finally:
            self._to_send = None
            call.cancel()
            to_send.put_nowait(None)  # ends gRPC's task, which waits for another message
            was_answered.set()
        return None

    def _handle_response(self, response: messages.StreamClassifyResponse) -> None:
        self._retries.record_answer()
        pending = self._pending.get(response.correlation_id)
        if pending is None or pending.answer.done():
            return  # its deadline has passed
        answer = read_stream_response(self._config, response, self._timeout_seconds)
        if isinstance(answer, LinnaeusError):
            pending.answer.set_exception(answer)
        else:
            pending.answer.set_result(answer)

    def _unanswered(self) -> list[_Pending]:
        return [pending for pending in self._pending.values() if not pending.answer.done()]

    def _fail(self, end: StreamEnd) -> None:
        """Ends the images that are not sent again."""
        for pending in self._unanswered():
            if end.resend_after_seconds is None or pending.sends >= MAX_SENDS:
                pending.answer.set_exception(end.error)


def _put(to_send: _SendQueue, pending: _Pending) -> None:
    pending.sends += 1
    to_send.put_nowait(pending)


async def _messages(
    to_send: _SendQueue, was_answered: asyncio.Event
) -> AsyncGenerator[messages.StreamClassifyRequest, None]:
    """Yields each message when gRPC is ready to send it, with the time that its image has left by then.

    Args:
        to_send: what is sent, in this order; None is the end.
        was_answered: all but the first message wait for it.
    """
    while (pending := await to_send.get()) is not None:
        if not pending.answer.done():
            pending.message.timeout_seconds = pending.deadline.remaining_seconds
            yield pending.message
            await was_answered.wait()
