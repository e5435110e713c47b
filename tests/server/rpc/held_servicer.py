"""A servicer for tests of a server's stop."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc


class HeldServicer(v1_grpc.ClassifierServiceServicer):
    """A servicer whose Classify returns only after `may_end` is set; StreamClassify echoes."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def Classify(self, request: Any, context: Any) -> v1.ClassifyResponse:
        await self.may_end.wait()
        return v1.ClassifyResponse(model="answered")

    async def StreamClassify(self, request_iterator: Any, context: Any) -> AsyncIterator[v1.StreamClassifyResponse]:
        async for request in request_iterator:
            yield v1.StreamClassifyResponse(correlation_id=request.correlation_id)
