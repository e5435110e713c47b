"""What happens around every call: it is counted and timed, and its errors are spoken in gRPC."""

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeAlias

import grpc

from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.rpc.draining import CallDrainer
from linnaeus.server.rpc.status import to_status
from linnaeus.server.security.authorization import Authorizer

logger = logging.getLogger(__name__)

# What gRPC calls with a request (or an iterator of them) and a context; what it returns depends on the method's kind.
Behaviour: TypeAlias = Callable[..., Any]

# By whether requests and responses are streams: the metrics' name, the handler's attribute, and what makes a handler.
METHOD_KINDS = {
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


class InterceptedServer:
    """Stands before a server where services are added, so that every call of theirs is watched.

    Each call is counted and timed, and an error of the engine becomes its status; one that is none of the engine's
    becomes INTERNAL with a reference to the log, never a traceback. A method is wrapped once, when its service is
    added; gRPC's own interceptors cost every call a coroutine and a new handler.

        v1_grpc.add_ClassifierServiceServicer_to_server(servicer, WatchedServer(server, observer))

    Args:
        server: where the services are added.
        observer: hears of every call.
        authorizer: asked before every call; None lets all pass, and costs nothing.
        drainer: where calls are held while the server stops; None for services that answer to the end.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        observer: CallObserver,
        authorizer: Authorizer | None = None,
        drainer: CallDrainer | None = None,
    ) -> None:
        self._server = server
        self._observer = observer
        self._authorizer = authorizer
        self._drainer = drainer

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Passes them over: generated code adds the same methods by name, too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Adds a service; called by the generated `add_…_to_server`."""
        wrapped = {name: self._wrap(handler, service, name) for name, handler in handlers.items()}
        generic: Any = grpc.method_handlers_generic_handler(service, wrapped)
        if self._drainer is not None:
            held = {name: self._wrap_held(handler, service, name, self._drainer) for name, handler in handlers.items()}
            generic = self._drainer.wrap(generic, grpc.method_handlers_generic_handler(service, held))
        self._server.add_generic_rpc_handlers((generic,))

    def _wrap_held(self, handler: Any, service: str, name: str, drainer: CallDrainer) -> Any:
        """The same method while the server stops; its requests are not even read into messages."""
        kind, _, make = METHOD_KINDS[handler.request_streaming, handler.response_streaming]
        return make(self._single(drainer.hold_and_refuse, Method(service, name, kind)))

    def _wrap(self, handler: Any, service: str, name: str) -> Any:
        kind, attribute, make = METHOD_KINDS[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, attribute)
        if self._authorizer is not None:
            behaviour = self._authorizer.wrap(behaviour, service, name)
        wrap = self._stream if inspect.isasyncgenfunction(behaviour) else self._single
        return make(
            wrap(behaviour, Method(service, name, kind)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _single(self, behaviour: Callable[..., Awaitable[Any]], method: Method) -> Behaviour:
        async def handle(request: Any, context: Any) -> Any:
            call = _InterceptedCall(self._observer, method, context)
            with call:
                return await behaviour(request, context)
            refusal = call.refuse()
            # gRPC's context keeps the error that now comes, the error this frame, and the frame must not keep the
            # context: a circle of 60 objects and a picture a call, for the collector to walk along and break.
            del request, context, call
            await refusal

        return handle

    def _stream(
        self, behaviour: Callable[..., AsyncIterator[Any]], method: Method
    ) -> Callable[..., AsyncIterator[Any]]:
        async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
            call = _InterceptedCall(self._observer, method, context)
            with call:
                async for response in behaviour(request, context):
                    yield response
                return
            refusal = call.refuse()
            del request, context, call  # as above
            await refusal

        return handle


class _InterceptedCall:
    """One call: told when it begins and ends; an error that ends it is spoken in gRPC, by `refuse`."""

    __slots__ = ("_context", "_method", "_observer", "_refusal", "_started")

    def __init__(self, observer: CallObserver, method: Method, context: Any) -> None:
        self._observer = observer
        self._method = method
        self._context = context
        self._started = time.perf_counter()

    def __enter__(self) -> None:
        self._observer.call_started(self._method)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Ends the call; an error that `refuse` is to tell goes no further."""
        if error is None:
            self._end("OK")
            return False
        known = _request_error(error, self._method)
        if known is None:
            self._end(_code(error, self._context))
            return False
        self._refusal = to_status(known, self._context.time_remaining())
        self._end(self._refusal.code.name)
        return True

    def refuse(self) -> Awaitable[None]:
        """Ends the call for gRPC with the error that ended it here, once it is awaited.

        Aborted, not returned from: a status that is set while a method returns goes out behind an empty message, and a
        call that was answered with a message is never tried again by a client's retry policy.
        """
        code, details, trailing_metadata = self._refusal
        refusal: Awaitable[None] = self._context.abort(code, details, trailing_metadata)
        return refusal

    def _end(self, code: str) -> None:
        self._observer.call_handled(self._method, code, time.perf_counter() - self._started)


_GRPC_ERRORS = (grpc.aio.AbortError, grpc.aio.BaseError, grpc.aio.UsageError)


def _code(error: BaseException, context: Any) -> str:
    """The name of the status code that a call ends with."""
    if isinstance(error, asyncio.CancelledError):
        return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"


def _request_error(error: BaseException, method: Method) -> RequestError | None:
    """The error that the caller is told; None for what gRPC knows how to end."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, Exception) and not isinstance(error, _GRPC_ERRORS):
        # The boundary: faults of ours are logged here and named, not shown.
        return _internal(error, method)
    return None


def _internal(error: Exception, method: Method) -> InternalFailure:
    reference = uuid.uuid4().hex[:12]
    logger.error("%s/%s failed [%s]", method.service, method.name, reference, exc_info=error)
    return InternalFailure(f"the server failed; its log has the cause under {reference}", reference)
