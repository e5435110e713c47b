"""ModelStreamInfer: runs the requests of a stream concurrently, and responds in the order of the requests."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeAlias

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import RequestError, Unavailable
from linnaeus.server.rpc.request_messages import release_hold
from linnaeus.server.rpc.status_size import MAX_MESSAGE_BYTES, shortened
from linnaeus.server.security.byte_budget import Reservation

Infer: TypeAlias = Callable[[kserve.ModelInferRequest], Awaitable[kserve.ModelInferResponse]]
_ResponseTask: TypeAlias = "asyncio.Task[kserve.ModelStreamInferResponse]"

# Per stream: enough for full batches on any device, and a bound for callers that do not read responses.
_MAX_IN_FLIGHT = 256
_RETRY_SECONDS = 1.0


class Requests(Protocol):
    """The requests of a stream; `RequestMessages` outside of tests."""

    def __aiter__(self) -> AsyncIterator[kserve.ModelInferRequest]:
        """Iterates over the requests."""

    def take_hold(self) -> Reservation | None:
        """Hands over the bytes that the last request holds."""


class InferStream:
    """One stream of inference requests.

    Request IDs are optional, so clients match responses to requests by order: a response waits for those before it. If
    the caller does not read responses, `_MAX_IN_FLIGHT` requests are read, and gRPC's flow control stops further ones.

    Args:
        requests: the stream's requests.
        infer: answers one request.
        closing: set when the server stops: no further request is read then.
    """

    def __init__(self, requests: Requests, infer: Infer, closing: asyncio.Event) -> None:
        self._requests = requests
        self._infer = infer
        self._closing = closing
        self._slots = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._responses: asyncio.Queue[_ResponseTask | None] = asyncio.Queue()
        # What each request holds until it is answered.
        self._in_flight: dict[_ResponseTask, Reservation | None] = {}

    async def responses(self) -> AsyncGenerator[kserve.ModelStreamInferResponse, None]:
        """Yields one response per request. Closing the generator cancels the requests in flight.

        Raises:
            Unavailable: if the server stops; all requests that were read have been answered.
        """
        reader = asyncio.create_task(self._read())
        closing = asyncio.create_task(self._closing.wait())
        closing.add_done_callback(lambda _: reader.cancel())
        try:
            while (response := await self._responses.get()) is not None:
                yield await response
                del self._in_flight[response]
                self._slots.release()
            await asyncio.wait({reader})
            if reader.cancelled():
                raise Unavailable("the server is stopping; open the stream at another one", _RETRY_SECONDS)
            reader.result()
        finally:
            for task in (reader, closing, *self._in_flight):
                task.cancel()
            for hold in self._in_flight.values():
                release_hold(hold)  # a task that was cancelled before it began released nothing

    async def _read(self) -> None:
        try:
            async for request in self._requests:
                if self._closing.is_set():
                    raise asyncio.CancelledError  # leaves the request to another server
                hold = self._requests.take_hold()
                response = asyncio.create_task(self._respond(request, hold))
                self._in_flight[response] = hold
                self._responses.put_nowait(response)
                del request  # would be kept while the stream waits for the next one
                await self._slots.acquire()
        finally:
            self._responses.put_nowait(None)

    async def _respond(
        self, request: kserve.ModelInferRequest, hold: Reservation | None
    ) -> kserve.ModelStreamInferResponse:
        """Answers one request. A `RequestError` becomes its response; any other exception ends the stream."""
        try:
            response = await self._infer(request)
        except RequestError as error:
            empty = kserve.ModelInferResponse(id=request.id)
            message = shortened(str(error), MAX_MESSAGE_BYTES)
            return kserve.ModelStreamInferResponse(error_message=message, infer_response=empty)
        finally:
            release_hold(hold)
        # Marks the response as the last of its request, for clients that support several responses per request.
        response.parameters["triton_final_response"].bool_param = True
        return kserve.ModelStreamInferResponse(infer_response=response)
