"""A stream of requests, answered in their order while the next ones are already under way."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import RequestError

Infer: TypeAlias = Callable[[kserve.ModelInferRequest], Awaitable[kserve.ModelInferResponse]]
_ResponseTask: TypeAlias = "asyncio.Task[kserve.ModelStreamInferResponse]"

# Of one stream: enough for full batches on any device, and a bound on what a caller who does not read can hold here.
_MOST_IN_FLIGHT = 256


class InferStream:
    """One stream of requests.

    Its clients match answers to requests by their order, for they may leave out ids. So an answer waits for those
    before it; a caller who does not read holds `_MOST_IN_FLIGHT` requests here, and gRPC's flow control stops the rest.

    Args:
        requests: as they come.
        infer: answers one of them.
    """

    def __init__(self, requests: AsyncIterator[kserve.ModelInferRequest], infer: Infer) -> None:
        self._requests = requests
        self._infer = infer
        self._slots = asyncio.Semaphore(_MOST_IN_FLIGHT)
        self._answers: asyncio.Queue[_ResponseTask | None] = asyncio.Queue()
        self._in_flight: set[_ResponseTask] = set()

    async def responses(self) -> AsyncGenerator[kserve.ModelStreamInferResponse, None]:
        """Yields one for each request; whoever stops to iterate cancels what is under way, once it is closed."""
        reader = asyncio.create_task(self._read())
        try:
            while (answer := await self._answers.get()) is not None:
                yield await answer
                self._in_flight.discard(answer)
                self._slots.release()
            await reader
        finally:
            for task in (reader, *self._in_flight):
                task.cancel()

    async def _read(self) -> None:
        try:
            async for request in self._requests:
                answer = asyncio.create_task(self._answer(request))
                self._in_flight.add(answer)
                self._answers.put_nowait(answer)
                await self._slots.acquire()
        finally:
            self._answers.put_nowait(None)

    async def _answer(self, request: kserve.ModelInferRequest) -> kserve.ModelStreamInferResponse:
        """A request that fails leaves the stream alone; a fault of ours ends it."""
        try:
            response = await self._infer(request)
        except RequestError as error:
            failed = kserve.ModelInferResponse(id=request.id)
            return kserve.ModelStreamInferResponse(error_message=str(error), infer_response=failed)
        # Clients that know models with several answers to a request want to be told that this was the last.
        response.parameters["triton_final_response"].bool_param = True
        return kserve.ModelStreamInferResponse(infer_response=response)
