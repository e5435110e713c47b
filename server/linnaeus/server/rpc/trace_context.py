"""Where the images of a call come from, for those who follow requests: noted when the call begins.

A call's images are begun in tasks of its own, which inherit what was noted; so nothing between the call and the engine
has to hand it on. Where nobody follows, no method is wrapped and nothing is noted.
"""

import inspect
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc

from linnaeus.server.rpc.interceptor import METHOD_KINDS, Behaviour

# W3C Trace Context: version, trace, parent, flags; later versions may go on after a further hyphen.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
# What the standard asks everybody to pass on at least; more is let go.
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class CallContext:
    """Where an image comes from.

    Attributes:
        method: `package.Service/Method`.
        caller_kind: what the server knows its caller by: token, certificate or address.
        traceparent, tracestate: the caller's, as they came; empty for none, or for what is not W3C's.
    """

    method: str = ""
    caller_kind: str = ""
    traceparent: str = ""
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        """The caller's trace, 32 hexadecimal digits; empty for none."""
        return self.traceparent[3:35]


_NO_CALL = CallContext()
_CURRENT_CALL: ContextVar[CallContext] = ContextVar("call", default=_NO_CALL)


def current_call() -> CallContext:
    """Returns the context of the call that is being served; an empty one outside of any call."""
    return _CURRENT_CALL.get()


class CallContextServer:
    """Stands before a server where services are added, so that the context of each call is set.

        Service(name, noting_origins(add, has_tokens))

    Args:
        server: where the services are added.
        has_tokens: whether callers are known by tokens.
    """

    def __init__(self, server: Any, has_tokens: bool) -> None:
        self._server = server
        self._has_tokens = has_tokens

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Passes them over: generated code adds the same methods by name, too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Adds a service; called by the generated `add_…_to_server`."""
        wrapped = {name: self._wrap(handler, f"{service}/{name}") for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, wrapped)

    def _wrap(self, handler: Any, method: str) -> Any:
        _, attribute, make = METHOD_KINDS[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, attribute)
        set_context = self._setter(method)
        wrap = _stream if inspect.isasyncgenfunction(behaviour) else _single
        return make(
            wrap(behaviour, set_context),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _setter(self, method: str) -> Callable[[Any], None]:
        def set_context(context: Any) -> None:
            _CURRENT_CALL.set(_call_context(context, method, self._has_tokens))

        return set_context


def with_call_context(add: Callable[[Any], None], has_tokens: bool) -> Callable[[Any], None]:
    """Returns a function that adds the same service, with the context of each call set."""
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


def _call_context(context: grpc.aio.ServicerContext[Any, Any], method: str, has_tokens: bool) -> CallContext:
    metadata = context.invocation_metadata() or ()
    traceparent = _text(metadata, "traceparent")
    if not _TRACEPARENT.fullmatch(traceparent):
        return CallContext(method, _caller_kind(context, has_tokens))
    return CallContext(method, _caller_kind(context, has_tokens), traceparent, _text(metadata, "tracestate"))


def _caller_kind(context: Any, has_tokens: bool) -> str:
    if has_tokens:  # whoever has none did not come this far
        return "token"
    return "certificate" if context.peer_identities() else "address"


def _text(metadata: Any, wanted: str) -> str:
    """One entry's text; empty if there is none, or several, or too much of it."""
    values = [value for key, value in metadata if key == wanted]
    if len(values) != 1 or not isinstance(values[0], str) or len(values[0]) > _LONGEST:
        return ""
    return values[0]
