"""ModelStreamInfer: runs the requests of a stream concurrently, and responds in the order of the requests."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import RequestError

Infer: TypeAlias = Callable[[kserve.ModelInferRequest], Awaitable[kserve.ModelInferResponse]]
_ResponseTask: TypeAlias = "asyncio.Task[kserve.ModelStreamInferResponse]"

# Per stream: enough for full batches on any device, and a bound for callers that do not read responses.
_MAX_IN_FLIGHT = 256


class InferStream:
    """One stream of inference requests.

    Request IDs are optional, so clients match responses to requests by order: a response waits for those before it. If
    the caller does not read responses, `_MAX_IN_FLIGHT` requests are read, and gRPC's flow control stops further ones.

    Args:
        requests: the stream's requests.
        infer: answers one request.
    """

    def __init__(self, requests: AsyncIterator[kserve.ModelInferRequest], infer: Infer) -> None:
        self._requests = requests
        self._infer = infer
        self._slots = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._responses: asyncio.Queue[_ResponseTask | None] = asyncio.Queue()
        self._in_flight: set[_ResponseTask] = set()

    async def responses(self) -> AsyncGenerator[kserve.ModelStreamInferResponse, None]:
        """Yields one response per request. Closing the generator cancels the requests in flight."""
        reader = asyncio.create_task(self._read())
        try:
            while (response := await self._responses.get()) is not None:
                yield await response
                self._in_flight.discard(response)
                self._slots.release()
            await reader
        finally:
            for task in (reader, *self._in_flight):
                task.cancel()

    async def _read(self) -> None:
        try:
            async for request in self._requests:
                response = asyncio.create_task(self._respond(request))
                self._in_flight.add(response)
                self._responses.put_nowait(response)
                await self._slots.acquire()
        finally:
            self._responses.put_nowait(None)

    async def _respond(self, request: kserve.ModelInferRequest) -> kserve.ModelStreamInferResponse:
        """Answers one request. A `RequestError` becomes its response; any other exception ends the stream."""
        try:
            response = await self._infer(request)
        except RequestError as error:
            empty = kserve.ModelInferResponse(id=request.id)
            return kserve.ModelStreamInferResponse(error_message=str(error), infer_response=empty)
        # Marks the response as the last of its request, for clients that support several responses per request.
        response.parameters["triton_final_response"].bool_param = True
        return kserve.ModelStreamInferResponse(infer_response=response)
