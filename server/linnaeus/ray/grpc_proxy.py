"""What runs in Ray's gRPC proxy: `grpc_servicer_functions: [linnaeus.ray.grpc_proxy:add_services]`.

Ray's proxy takes the calls and passes each to a replica. Left to itself it loses three things, which are added here:
the deadline, the details of an error, and that a call which was lost with its replica may be sent again.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc

from linnaeus.ray.methods import served_methods
from linnaeus.ray.outcome import read_failure
from linnaeus.ray.timeout import TIMEOUT_KEY
from linnaeus.server.errors import Overloaded, RequestError, Unavailable
from linnaeus.server.rpc.status import Status, to_status

_RETRY_SECONDS = 0.1
_LOST = "the replica that had the call ended before it answered; send it again"
_FULL = "all replicas are at Ray's limit of requests; send the call again"


def add_services(servicer: Any, server: Any) -> None:
    """Adds all services to Ray's proxy, which replaces the methods by calls of replicas.

    Args:
        servicer: Ray's own, which is not used.
        server: Ray's gRPC server.
    """
    # Messages stay bytes, which only the replica parses.
    methods = {each.path: _without_messages(each.handler) for each in served_methods()}
    server.add_generic_rpc_handlers((ProxiedServices(methods),))


class ProxiedServices(grpc.GenericRpcHandler):
    """The methods of all services, as gRPC asks for them call by call.

    Args:
        methods: handlers by `/SERVICE/METHOD`.
    """

    def __init__(self, methods: Mapping[str, Any]) -> None:
        # gRPC's own generic handler has it under this name, and Ray puts its methods in place of those.
        self._method_handlers = methods
        self._ready: dict[str, Any] = {}

    def service(self, handler_call_details: Any) -> Any:
        """Returns the handler of a call; None if there is no such method."""
        path = handler_call_details.method
        if path not in self._ready and path in self._method_handlers:
            self._ready[path] = _with_status(self._method_handlers[path])
        return self._ready.get(path)


class ProxiedContext:
    """gRPC's context of a call, as Ray is shown it: with the deadline among the metadata, and a status that waits.

    Args:
        context: gRPC's.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._code: Any = context.code()
        self._details = ""
        self._trailing_metadata: Sequence[tuple[str, str | bytes]] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Returns the caller's metadata and its timeout, which gRPC keeps apart. A caller's own claim is dropped."""
        sent = [each for each in self._context.invocation_metadata() if each[0] != TIMEOUT_KEY]
        seconds = self._context.time_remaining()
        return sent if seconds is None else [*sent, (TIMEOUT_KEY, f"{seconds:.6f}")]

    def code(self) -> Any:
        """Returns the code that was set last."""
        return self._code

    def set_code(self, code: Any) -> None:
        """Sets the code that the call ends with."""
        self._code = code

    def details(self) -> str:
        """Returns the text that was set last."""
        return self._details

    def set_details(self, details: str) -> None:
        """Sets the text that the call ends with."""
        self._details = details

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Sets the metadata that the call ends with."""
        self._trailing_metadata = metadata

    async def end(self, failure: Status | None) -> None:
        """Ends the call with a replica's failure, or with what Ray set.

        A failed call is aborted: with a status that is only set, gRPC would send an empty answer first, and clients
        never send a call again that had an answer.
        """
        status = failure or self._rays_failure()
        if status is None:
            self._context.set_trailing_metadata(self._trailing_metadata)
            return
        await self._context.abort(status.code, status.details, (*self._trailing_metadata, *status.trailing_metadata))

    def _rays_failure(self) -> Status | None:
        """Returns the status of a call that Ray failed, in the words and with the details of our own servers."""
        if self._code in (0, None, grpc.StatusCode.OK):
            return None
        error: RequestError
        match self._code:
            case grpc.StatusCode.INTERNAL | grpc.StatusCode.UNAVAILABLE:  # replicas answer errors, so it is gone
                error = Unavailable(_LOST, _RETRY_SECONDS)
            case grpc.StatusCode.NOT_FOUND:  # no application is deployed, or the call does not say which of several
                error = Unavailable(self._details, _RETRY_SECONDS)
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                error = Overloaded(_FULL, _RETRY_SECONDS)
            case _:
                return Status(self._code, self._details, ())
        return to_status(error, self._context.time_remaining())


def _without_messages(handler: Any) -> Any:
    return handler._replace(request_deserializer=None, response_serializer=None)


def _with_status(handler: Any) -> Any:
    """Returns Ray's handler of a method with what this module adds."""
    if handler.response_streaming:
        return handler._replace(stream_stream=_stream(handler.stream_stream))
    return handler._replace(unary_unary=_unary(handler.unary_unary))


def _unary(behaviour: Any) -> Any:
    async def call(request: bytes, context: Any) -> bytes:
        proxied = ProxiedContext(context)
        answer: bytes = await behaviour(request, proxied)
        await proxied.end(read_failure(answer))
        return answer

    return call


def _stream(behaviour: Any) -> Any:
    async def call(requests: Any, context: Any) -> AsyncIterator[bytes]:
        proxied, failure = ProxiedContext(context), None
        async for answer in behaviour(requests, proxied):
            failure = failure or read_failure(answer)
            if failure is None:
                yield answer
        await proxied.end(failure)

    return call
