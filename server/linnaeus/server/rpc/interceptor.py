"""Interception of every call: observation, authorization, draining, and the mapping of errors to gRPC statuses."""

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol, TypeAlias

import grpc

from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.process.limited_log import LimitedLog
from linnaeus.server.rpc.draining import CallDrainer
from linnaeus.server.rpc.message_turns import MessageTurns
from linnaeus.server.rpc.request_messages import Reception, RequestMessages
from linnaeus.server.rpc.status import to_status
from linnaeus.server.scheduling import Priority
from linnaeus.server.security.authorization import Authorizer, required_right
from linnaeus.server.security.byte_budget import ByteBudget
from linnaeus.server.security.caller_identity import caller_without_token
from linnaeus.server.security.charging import Charge, no_charge
from linnaeus.server.security.current_caller import set_current_caller

logger = logging.getLogger(__name__)

# A method's implementation: called with a request (or an iterator of requests) and a context.
Behaviour: TypeAlias = Callable[..., Any]

# By whether requests and responses are streams: the kind in metrics, the handler's attribute and its constructor.
METHOD_KINDS = {
    (False, False): ("UNARY", "unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("SERVER_STREAMING", "unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("CLIENT_STREAMING", "stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("BIDI_STREAMING", "stream_stream", grpc.stream_stream_rpc_method_handler),
}
# gRPC's own handler of a single request reads the whole message first, whoever sent it. A handler of a stream reads
# when it is told to; on the wire there is no difference.
_DEFERRED_HANDLERS = {False: grpc.stream_unary_rpc_method_handler, True: grpc.stream_stream_rpc_method_handler}
_DEFAULT_MESSAGE_BYTES, _DEFAULT_TOTAL_BYTES = 32 * 1024 * 1024, 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Method:
    """One method of one service, as metrics name it.

    Attributes:
        service: the full name of the service.
        name: the name of the method.
        kind: UNARY, SERVER_STREAMING, CLIENT_STREAMING or BIDI_STREAMING.
    """

    service: str
    name: str
    kind: str


class CallObserver(Protocol):
    """A listener to the start and the end of each call, on the event loop's thread."""

    def call_started(self, method: Method) -> None:
        """Called when a call starts."""

    def call_handled(self, method: Method, code: str, seconds: float) -> None:
        """Called when a call has ended, with the name of its status code and its duration."""


class InterceptedServer:
    """A stand-in for a gRPC server, to which services are added so that all their calls are intercepted.

        v1_grpc.add_ClassifierServiceServicer_to_server(servicer, InterceptedServer(server, observer))

    Each call is observed. Its token, right, rate and memory are checked by its metadata alone, before its message is
    read. A `RequestError` becomes its status; any other exception becomes INTERNAL with a reference to the log, never a
    traceback. A method is wrapped once, when its service is added: gRPC's own interceptors cost each call a coroutine
    and a new handler.

    Behaviours of methods with a stream of requests get `RequestMessages` in place of gRPC's iterator.

    Args:
        server: the gRPC server that the intercepted services are added to.
        observer: notified of every call.
        authorizer: authorizes every call; None allows all calls at no cost.
        drainer: holds answers while the server stops; None for services whose answers are never held.
        budget: bounds the bytes of request messages; None for 1 GiB, 32 MiB a message.
        has_certificates: whether callers may have certificates, by which those without a token are known.
        charge: charges an image for every call that needs a right, before its message is read.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        observer: CallObserver,
        authorizer: Authorizer | None = None,
        drainer: CallDrainer | None = None,
        budget: ByteBudget | None = None,
        has_certificates: bool = False,
        charge: Charge = no_charge,
    ) -> None:
        self._server = server
        self._observer = observer
        self._authorizer = authorizer
        self._drainer = drainer
        self._budget = budget or ByteBudget(_DEFAULT_MESSAGE_BYTES, _DEFAULT_TOTAL_BYTES, _DEFAULT_TOTAL_BYTES)
        self._log = LimitedLog(logger, logging.WARNING)
        self._turns = MessageTurns()
        self._has_certificates = has_certificates
        self._charge = charge

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Does nothing: generated code also adds the same methods by `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Adds a service with intercepted methods; called by the generated `add_…_to_server`."""
        wrapped = {name: self._wrap(handler, service, name) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))

    def _wrap(self, handler: Any, service: str, name: str) -> Any:
        kind, attribute, _ = METHOD_KINDS[handler.request_streaming, handler.response_streaming]
        behaviour, method = getattr(handler, attribute), Method(service, name, kind)
        if self._drainer is not None:
            behaviour = self._drainer.wrap(behaviour)
        open_call = self._call_opener(method, handler.request_deserializer)
        wrap = self._stream if inspect.isasyncgenfunction(behaviour) else self._single
        return _DEFERRED_HANDLERS[handler.response_streaming](
            wrap(behaviour, method, open_call, handler.request_streaming),
            response_serializer=handler.response_serializer,
        )

    def _call_opener(self, method: Method, deserializer: Callable[[bytes], Any] | None) -> "_OpenCall":
        """Returns a function that checks a call by its metadata and returns its messages, of which none is read yet."""
        right, name = required_right(method.service, method.name), f"{method.service}/{method.name}"
        reception = Reception(name, deserializer, self._budget, self._log, self._turns)
        has_certificates = self._has_certificates
        charge = no_charge if right is None else self._charge
        authorize = None if self._authorizer is None or right is None else partial(self._authorizer.authorize, right)

        async def open_call(context: Any) -> RequestMessages:
            if authorize is not None:
                caller = authorize(context)
            else:
                caller = caller_without_token(context, has_certificates, Priority.HIGH)
            set_current_caller(caller)
            await charge(1.0)
            return RequestMessages(context, reception, caller.identity)

        return open_call

    def _single(
        self, behaviour: Callable[..., Awaitable[Any]], method: Method, open_call: "_OpenCall", streams_requests: bool
    ) -> Behaviour:
        async def handle(_: Any, context: Any) -> Any:
            call = _InterceptedCall(self._observer, method, context)
            with call:
                messages = await open_call(context)
                try:
                    request = messages if streams_requests else await messages.read_only()
                    return await behaviour(request, context)
                finally:
                    messages.release()
                    # See below; a refused call must not keep its message either.
                    request = messages = None  # type: ignore[assignment]
            refusal = call.refuse()
            # gRPC's context refers to the error raised next, and the error to this frame. If the frame referred to the
            # context, each refused call would leave a reference cycle of 60 objects and an image to the collector.
            del _, context, call
            await refusal

        return handle

    def _stream(
        self,
        behaviour: Callable[..., AsyncIterator[Any]],
        method: Method,
        open_call: "_OpenCall",
        streams_requests: bool,
    ) -> Callable[..., AsyncIterator[Any]]:
        async def handle(_: Any, context: Any) -> AsyncIterator[Any]:
            call = _InterceptedCall(self._observer, method, context)
            with call:
                messages = await open_call(context)
                try:
                    request = messages if streams_requests else await messages.read_only()
                    async for response in behaviour(request, context):
                        if streams_requests:
                            await messages.take_turn()
                        yield response
                    return
                finally:
                    messages.release()
                    request = messages = None  # type: ignore[assignment]
            refusal = call.refuse()
            del _, context, call  # as above
            await refusal

        return handle


_OpenCall: TypeAlias = Callable[[Any], Awaitable[RequestMessages]]


class _InterceptedCall:
    """One observed call, as a context manager that suppresses errors which `refuse` then sends as a status."""

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
        """Reports the end of the call; returns True, which suppresses the error, if `refuse` is to send it."""
        if error is None:
            self._end("OK")
            return False
        request_error = _request_error(error, self._method)
        if request_error is None:
            self._end(_code(error, self._context))
            return False
        self._refusal = to_status(request_error, self._context.time_remaining())
        self._end(self._refusal.code.name)
        return True

    def refuse(self) -> Awaitable[None]:
        """Returns an awaitable that aborts the call with the status of the suppressed error.

        The call is aborted because a status that is set before a method returns is sent after an empty message, and a
        client's retry policy never retries a call that has received a message.
        """
        code, details, trailing_metadata = self._refusal
        refusal: Awaitable[None] = self._context.abort(code, details, trailing_metadata)
        return refusal

    def _end(self, code: str) -> None:
        self._observer.call_handled(self._method, code, time.perf_counter() - self._started)


_GRPC_ERRORS = (grpc.aio.AbortError, grpc.aio.BaseError, grpc.aio.UsageError)


def _code(error: BaseException, context: Any) -> str:
    """Returns the name of the status code with which gRPC ends a call after an error."""
    if isinstance(error, asyncio.CancelledError):
        return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"


def _request_error(error: BaseException, method: Method) -> RequestError | None:
    """Returns the error to send to the caller; None for cancellation and gRPC's own errors, which gRPC handles."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, Exception) and not isinstance(error, _GRPC_ERRORS):
        return _internal_failure(error, method)
    return None


def _internal_failure(error: Exception, method: Method) -> InternalFailure:
    """Logs an unexpected exception, and returns an error that gives the caller only the log reference."""
    reference = uuid.uuid4().hex[:12]
    logger.error("%s/%s failed [%s]", method.service, method.name, reference, exc_info=error)
    return InternalFailure(f"the server failed; its log has the cause under {reference}", reference)
