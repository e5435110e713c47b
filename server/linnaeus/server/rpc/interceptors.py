"""What happens around every call: it is counted and timed, and its errors are spoken in gRPC."""

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeAlias

import grpc

from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.rpc.status import to_status

logger = logging.getLogger(__name__)

# What gRPC calls with a request (or an iterator of them) and a context; what it returns depends on the method's kind.
Behaviour: TypeAlias = Callable[..., Any]

_KINDS = {
    (False, False): ("UNARY", "unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("SERVER_STREAMING", "unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("CLIENT_STREAMING", "stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("BIDI_STREAMING", "stream_stream", grpc.stream_stream_rpc_method_handler),
}


@dataclass(frozen=True, slots=True)
class Method:
    """One method of one service, as the metrics name it."""

    service: str
    name: str
    kind: str


class CallObserver(Protocol):
    """What the metrics want to hear of calls."""

    def call_started(self, method: Method) -> None:
        """A call began."""

    def call_handled(self, method: Method, code: str, seconds: float) -> None:
        """A call ended with the status code of that name."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Counts and times every call of every service, and turns errors into statuses.

    An error that is none of the engine's becomes INTERNAL with a reference to the log, never a traceback.
    """

    def __init__(self, observer: CallObserver) -> None:
        self._observer = observer
        self._wrapped: dict[str, Any] = {}  # handlers by path, so that none is wrapped anew for each call

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Returns the method's handler, wrapped; see grpc.aio.ServerInterceptor."""
        path = handler_call_details.method
        if path not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:  # gRPC answers UNIMPLEMENTED itself, and a made-up name must not become a label
                return None
            self._wrapped[path] = self._wrap(handler, path)
        return self._wrapped[path]

    def _wrap(self, handler: Any, path: str) -> Any:
        _, service, name = path.split("/", 2)
        kind, attribute, make = _KINDS[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, attribute)
        wrap = self._stream if inspect.isasyncgenfunction(behaviour) else self._single
        return make(
            wrap(behaviour, Method(service, name, kind)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _single(self, behaviour: Callable[..., Awaitable[Any]], method: Method) -> Behaviour:
        async def handle(request: Any, context: Any) -> Any:
            async with _Around(self._observer, method, context):
                return await behaviour(request, context)

        return handle

    def _stream(
        self, behaviour: Callable[..., AsyncIterator[Any]], method: Method
    ) -> Callable[..., AsyncIterator[Any]]:
        async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
            async with _Around(self._observer, method, context):
                async for response in behaviour(request, context):
                    yield response

        return handle


class _Around:
    """One call: told when it begins and ends; an error that ends it is spoken in gRPC."""

    __slots__ = ("_context", "_method", "_observer", "_started")

    def __init__(self, observer: CallObserver, method: Method, context: Any) -> None:
        self._observer = observer
        self._method = method
        self._context = context
        self._started = time.perf_counter()

    async def __aenter__(self) -> None:
        self._observer.call_started(self._method)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, RequestError):
                await self._context.abort_with_status(to_status(error))
            elif isinstance(error, Exception) and not isinstance(error, _OF_GRPC):
                # The boundary: faults of ours are logged here and named, not shown.
                await self._context.abort_with_status(to_status(_internal(error, self._method)))
        finally:
            seconds = time.perf_counter() - self._started
            self._observer.call_handled(self._method, _code(error, self._context), seconds)


_OF_GRPC = (grpc.aio.AbortError, grpc.aio.BaseError, grpc.aio.UsageError)


def _code(error: BaseException | None, context: Any) -> str:
    """The name of the status code that a call ends with."""
    if error is None:
        return "OK"
    if isinstance(error, asyncio.CancelledError):
        return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"


def _internal(error: Exception, method: Method) -> InternalFailure:
    reference = uuid.uuid4().hex[:12]
    logger.error("%s/%s failed [%s]", method.service, method.name, reference, exc_info=error)
    return InternalFailure(f"the server failed; its log has the cause under {reference}", reference)
