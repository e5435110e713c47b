"""How a client makes one call: its connection, the server's limits, retries, and second attempts."""

import asyncio
import threading
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio

from linnaeus.client.aio.call_group import CallGroup
from linnaeus.client.aio.connection import Connection
from linnaeus.client.aio.hedged_call import hedged_call
from linnaeus.client.aio.home_loop import HomeLoop
from linnaeus.client.aio.lock import Lock
from linnaeus.client.aio.refused_call import refused_call
from linnaeus.client.config import ClientConfig
from linnaeus.client.errors import LinnaeusError, ServerFailure
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.hedging import Hedger
from linnaeus.client.transport.message_size import check_message_size
from linnaeus.v1 import classifier_pb2 as messages

Request = TypeVar("Request")
Response = TypeVar("Response")
ClassifyMethod: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[messages.ClassifyRequest, messages.ClassifyResponse]"


class Calls:
    """The calls of one client, over the connection that the first of them opens.

    Args:
        config: the client's.

    Attributes:
        group: the calls that `close` cancels.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._connection_lock = threading.Lock()  # held for an instant only, never during a look-up
        self._connection: Connection | None = None
        self._is_closed = False
        self._home_loop = HomeLoop()
        self._limit_query = Lock()
        self.group = CallGroup()

    async def close(self) -> None:
        """Closes the connection; calls in flight end with an error. May be called twice."""
        with self._connection_lock:
            self._is_closed = True
        self.group.cancel()
        if self._connection is not None:
            await self._connection.close()

    async def classify(
        self, request: messages.ClassifyRequest, timeout_seconds: float | None, calls: CallGroup | None = None
    ) -> messages.ClassifyResponse:
        """Sends an image, in two attempts if the client hedges.

        Args:
            request: the image and its options.
            timeout_seconds: the call's timeout; None for the client's.
            calls: a group whose cancellation cancels this call; None for a call that stands alone.

        Raises:
            LinnaeusError: if there is no answer.
        """
        deadline = self._config.deadline(timeout_seconds)
        await self.check_server_limit(request, deadline)
        connection = await self.connect()
        method = connection.classifier.Classify if calls is None else calls.wrap(connection.classifier.Classify)
        if self._config.hedger is None:
            return await self.call(method, request, deadline, calls)
        return await self._call_hedged(method, request, deadline, self._config.hedger, calls)

    async def check_server_limit(self, request: messages.ClassifyRequest, deadline: Deadline) -> None:
        """Checks a large request against the server's limit, which is queried once for all calls.

        A call whose deadline passes while another one queries the limit goes on, and then fails with that deadline.

        Raises:
            InvalidImage: if the request is too large.
            LinnaeusError: if the server does not answer.
        """
        self._home_loop.check()
        limit, size_bytes = self._config.limit, request.ByteSize()
        if not limit.must_query(size_bytes):
            return
        is_acquired = await self._limit_query.acquire(timeout=deadline.remaining_seconds)
        try:
            if limit.must_query(size_bytes):
                await self._query_server_limits(deadline)
        finally:
            if is_acquired:
                self._limit_query.release()
        check_message_size(size_bytes, limit.bytes)

    async def prefetch_limits(self, deadline: Deadline) -> None:
        """Queries the server's limits unless they are known. If that fails, the next call reports why."""
        self._home_loop.check()
        with suppress(LinnaeusError):
            if not self._config.limit.server_is_known:
                await self._query_server_limits(deadline)

    async def _query_server_limits(self, deadline: Deadline) -> None:
        """Queries the server's limits; assumes the defaults of a server that does not implement ListModels."""
        try:
            response = await self.list_models(deadline)
            limits = response.limits
        except ServerFailure:
            limits = messages.ServerLimits()
        self._config.limit.set_server_limits(limits.max_message_bytes, limits.max_batch_images)

    async def list_models(self, deadline: Deadline) -> messages.ListModelsResponse:
        """Lists the models, and tells the server's limits."""
        connection = await self.connect()
        return await self.call(connection.classifier.ListModels, messages.ListModelsRequest(), deadline)

    async def connect(self) -> Connection:
        """Returns the connection, which the first call opens.

        Names may need a look-up, and the channel needs a running event loop.

        Raises:
            RuntimeError: if the client is closed, or belongs to another event loop.
            Unavailable: if no name in a list of servers has an address.
        """
        self._home_loop.check()
        target = ""
        if self._connection is None and not self._is_closed:
            target = await asyncio.to_thread(self._config.addresses.grpc_target)
        # Meanwhile another call may have connected, or the client may have been closed.
        with self._connection_lock:
            if self._is_closed:
                raise RuntimeError("this AsyncClient is closed: make a new one")
            if self._connection is None:
                self._connection = Connection(target, self._config)
            return self._connection

    async def call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        deadline: Deadline,
        calls: CallGroup | None = None,
    ) -> Response:
        """Makes a call that changes nothing, and repeats it if the server refuses it for now.

        Raises:
            LinnaeusError: if there is no answer.
        """
        send, pause = partial(self.send, method, request, deadline), partial(self._pause, calls)
        return await refused_call(send, pause, self._config.retry_budget, deadline, send_again=send)

    async def _call_hedged(
        self,
        method: ClassifyMethod,
        request: messages.ClassifyRequest,
        deadline: Deadline,
        hedger: Hedger,
        calls: CallGroup | None,
    ) -> messages.ClassifyResponse:
        """Makes a call with a second attempt if the first is late. A server that refuses it gets no second ones."""
        send = partial(self._send_hedged, method, request, deadline, hedger)
        send_again, pause = partial(self.send, method, request, deadline), partial(self._pause, calls)
        return await refused_call(send, pause, self._config.retry_budget, deadline, send_again=send_again)

    async def _pause(self, calls: CallGroup | None, seconds: float) -> bool:
        """Waits before a call is sent again; returns False if the call or the client is closed."""
        return await (calls or self.group).pause(seconds) and not self._is_closed

    async def send(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, deadline: Deadline
    ) -> Response:
        """Sends a request once; gRPC retries what `retry_policy` names.

        Raises:
            LinnaeusError: if there is no answer.
        """
        try:
            return await method(request, timeout=deadline.remaining_seconds, metadata=self._config.metadata)
        except grpc.RpcError as failure:
            raise self._config.rpc_error(failure, deadline.timeout_seconds) from None

    async def _send_hedged(
        self, method: ClassifyMethod, request: messages.ClassifyRequest, deadline: Deadline, hedger: Hedger
    ) -> messages.ClassifyResponse:
        def send() -> Any:
            return method(request, timeout=deadline.remaining_seconds, metadata=self._config.metadata)

        try:
            response: messages.ClassifyResponse = await hedged_call(send, hedger, request.model)
            return response
        except grpc.RpcError as failure:
            raise self._config.rpc_error(failure, deadline.timeout_seconds) from None
