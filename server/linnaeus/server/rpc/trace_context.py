"""The context of the current call for telemetry: its method, its caller's kind and its W3C Trace Context.

The context is a context variable, set when the call starts. The call's requests begin in its tasks, which inherit the
variable, so no layer between the call and the engine has to pass it on. Without telemetry, methods are not wrapped.
"""

import inspect
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from linnaeus.server.rpc.interceptor import METHOD_KINDS, Behaviour

# W3C Trace Context: version, trace ID, parent ID, flags; later versions may add fields after a further hyphen.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
# The length of tracestate that the standard requires to propagate; longer values are dropped.
_MAX_LENGTH = 512


@dataclass(frozen=True, slots=True)
class CallContext:
    """The context of one call.

    Attributes:
        method: `package.Service/Method`.
        caller_kind: how the caller is identified: token, certificate or address.
        traceparent: the metadata of that name; empty if absent or malformed.
        tracestate: the metadata of that name; empty if absent or without a valid traceparent.
    """

    method: str = ""
    caller_kind: str = ""
    traceparent: str = ""
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        """The caller's trace ID, 32 hexadecimal digits; empty for none."""
        return self.traceparent[3:35]


_NO_CALL = CallContext()
_CURRENT_CALL: ContextVar[CallContext] = ContextVar("call", default=_NO_CALL)


def current_call() -> CallContext:
    """Returns the context of the current call; an empty one outside of calls."""
    return _CURRENT_CALL.get()


def set_call_context(context: Any, method: str, has_tokens: bool) -> None:
    """Sets the context of the current call.

    Args:
        context: gRPC's, or one that stands in its place.
        method: `package.Service/Method`.
        has_tokens: whether callers are identified by tokens.
    """
    _CURRENT_CALL.set(_call_context(context, method, has_tokens))


class CallContextServer:
    """A stand-in for a server, to which services are added so that each call's context is set.

        Service(name, with_call_context(add, has_tokens))

    Args:
        server: the server that the services are added to.
        has_tokens: whether callers are identified by tokens.
    """

    def __init__(self, server: Any, has_tokens: bool) -> None:
        self._server = server
        self._has_tokens = has_tokens

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Does nothing: generated code also adds the same methods by `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Adds a service with wrapped methods; called by the generated `add_…_to_server`."""
        wrapped = {name: self._wrap(handler, f"{service}/{name}") for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, wrapped)

    def _wrap(self, handler: Any, method: str) -> Any:
        _, attribute, make_handler = METHOD_KINDS[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, attribute)
        set_context = self._context_setter(method)
        wrap = _stream if inspect.isasyncgenfunction(behaviour) else _single
        return make_handler(
            wrap(behaviour, set_context),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _context_setter(self, method: str) -> Callable[[Any], None]:
        def set_context(context: Any) -> None:
            set_call_context(context, method, self._has_tokens)

        return set_context


def with_call_context(add: Callable[[Any], None], has_tokens: bool) -> Callable[[Any], None]:
    """Returns a function that adds the same service with the context of each call set."""
    return lambda server: add(CallContextServer(server, has_tokens))


def _single(behaviour: Behaviour, set_context: Callable[[Any], None]) -> Behaviour:
    async def handle(request: Any, context: Any) -> Any:
        set_context(context)
        return await behaviour(request, context)

    return handle


def _stream(behaviour: Behaviour, set_context: Callable[[Any], None]) -> Behaviour:
    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        set_context(context)
        async for response in behaviour(request, context):
            yield response

    return handle


def _call_context(context: Any, method: str, has_tokens: bool) -> CallContext:
    metadata = context.invocation_metadata() or ()
    traceparent = _text(metadata, "traceparent")
    if not _TRACEPARENT.fullmatch(traceparent):
        return CallContext(method, _caller_kind(context, has_tokens))
    return CallContext(method, _caller_kind(context, has_tokens), traceparent, _text(metadata, "tracestate"))


def _caller_kind(context: Any, has_tokens: bool) -> str:
    if has_tokens:  # calls without a token have been refused before
        return "token"
    return "certificate" if context.peer_identities() else "address"


def _text(metadata: Any, name: str) -> str:
    """Returns a metadata entry's text; empty if it is absent, repeated, binary or too long."""
    values = [value for key, value in metadata if key == name]
    if len(values) != 1 or not isinstance(values[0], str) or len(values[0]) > _MAX_LENGTH:
        return ""
    return values[0]
