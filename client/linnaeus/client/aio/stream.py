"""Many pictures over one call of the asyncio client: `streaming`, with tasks in place of threads."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import grpc

from linnaeus.client.config import Core
from linnaeus.client.errors import LinnaeusError, ServerFailure, Unavailable
from linnaeus.client.results import Classification
from linnaeus.client.sync.stream import is_lost, read_stream_response, stream_request
from linnaeus.v1 import classifier_pb2 as messages

# Opens a stream that sends what the iterator gives; returns gRPC's call.
Open = Callable[[AsyncIterator[messages.StreamClassifyRequest]], Any]
# What gRPC's asyncio client says in place of the server's status where a stream ends while it is sending.
_FROM_CORE = "Internal error from Core"
_Requests = asyncio.Queue[messages.StreamClassifyRequest | None]


class AsyncStream:
    """Sends pictures over one stream, or over another one when that is lost; see `streaming.Stream`.

    Args:
        core: the client's.
        open_stream: see `Open`.
        timeout_seconds: how long each picture may take.
    """

    def __init__(self, core: Core, open_stream: Open, timeout_seconds: float) -> None:
        self._core = core
        self._open_stream = open_stream
        self._timeout_seconds = timeout_seconds
        self._number = 0
        self._waiting: dict[int, messages.StreamClassifyRequest] = {}
        self._answers: dict[int, asyncio.Future[Classification]] = {}
        self._requests: _Requests = asyncio.Queue()
        self._receiving: asyncio.Task[None] | None = None
        self._is_open = False

    async def ask(self, request: messages.ClassifyRequest) -> Classification:
        """Sends a picture and waits for its answer.

        Raises:
            LinnaeusError: there is none.
        """
        self._number += 1
        number, answer = self._number, asyncio.get_running_loop().create_future()
        message = stream_request(request, number, self._timeout_seconds)
        self._waiting[number], self._answers[number] = message, answer
        if not self._is_open:
            self._open()
        self._requests.put_nowait(message)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                classification: Classification = await answer
                return classification
        except TimeoutError:
            raise self._core.late(self._timeout_seconds) from None
        finally:
            self._waiting.pop(number, None)
            self._answers.pop(number, None)

    async def close(self) -> None:
        """Ends the stream; the server knows that nobody waits."""
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)

    def _open(self) -> None:
        self._is_open = True
        self._requests = asyncio.Queue()
        call = self._open_stream(_each(self._requests))
        self._receiving = asyncio.create_task(self._receive(call, self._requests))

    async def _receive(self, call: Any, requests: _Requests) -> None:
        was_answered = False
        try:
            async for response in call:
                was_answered = True
                self._settle(response)
        except grpc.RpcError as failure:
            error: LinnaeusError = self._core.stream_error(failure, self._timeout_seconds)
            lost = is_lost(failure.code(), was_answered) or (was_answered and _is_misnamed(failure))
        except asyncio.CancelledError:
            self._ended(Unavailable("the client was closed before there was an answer"), lost=False)
            raise
        else:
            error, lost = ServerFailure("the server ended the stream before it had answered every picture"), False
        finally:
            call.cancel()
            requests.put_nowait(None)  # lets gRPC's task go that waits for more
        self._ended(error, lost)

    def _settle(self, response: messages.StreamClassifyResponse) -> None:
        self._waiting.pop(response.correlation_id, None)
        answer = self._answers.get(response.correlation_id)
        if answer is None or answer.done():
            return  # its time was over
        try:
            answer.set_result(read_stream_response(self._core, response, self._timeout_seconds))
        except LinnaeusError as error:
            answer.set_exception(error)

    def _ended(self, error: LinnaeusError, lost: bool) -> None:
        self._is_open = False
        if lost and self._has_moved():
            return
        for number in tuple(self._waiting):
            del self._waiting[number]
            answer = self._answers[number]
            if not answer.done():
                answer.set_exception(error)

    def _has_moved(self) -> bool:
        """Sends what has no answer over another stream; False if the client is closed."""
        if self._waiting:
            try:
                self._open()
            except grpc.aio.UsageError:
                return False
            for message in self._waiting.values():
                self._requests.put_nowait(message)
        return True


def _is_misnamed(failure: grpc.RpcError) -> bool:
    """Whether gRPC says INTERNAL for a stream that ended while it was sending: the server's own status is lost then."""
    return failure.code() is grpc.StatusCode.INTERNAL and (failure.details() or "").startswith(_FROM_CORE)


async def _each(requests: _Requests) -> AsyncGenerator[messages.StreamClassifyRequest, None]:
    while (message := await requests.get()) is not None:
        yield message
