"""Every request over HTTP: who calls, whether it may, its body, its answer or its problem, and what is counted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from linnaeus.server.errors import DeadlineExceeded, RequestError, Unavailable
from linnaeus.server.http.bodies.request_body import BodyTimes, read_body, require_acceptable
from linnaeus.server.http.call_context import HttpContext
from linnaeus.server.http.connections.running_request import SCOPE_KEY, RunningRequest
from linnaeus.server.http.problems import HttpRefusal, internal_failure, problem
from linnaeus.server.rpc.trace_context import set_call_context
from linnaeus.server.scheduling import Priority
from linnaeus.server.security.authorization import Authorizer, required_right
from linnaeus.server.security.byte_budget import ByteBudget
from linnaeus.server.security.caller_identity import caller_without_token
from linnaeus.server.security.charging import Charge, no_charge
from linnaeus.server.security.current_caller import set_current_caller
from linnaeus.server.security.tokens import Right

_STOPPING = Unavailable("the server is stopping; try another one", 1.0)
# How much later than the deadline a request is ended that has not ended by itself.
_LATE_SECONDS = 0.1
_BODY_TIMES = BodyTimes()
_CLIENT_CLOSED = 499  # nginx' status for a caller that left; it is counted, not sent


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of gRPC that a request over HTTP stands for: the same rights and rates hold.

    Attributes:
        service: the full name of the service.
        method: the name of the method.
    """

    service: str
    method: str


class HttpObserver(Protocol):
    """A listener to the end of each request, on the event loop's thread."""

    def http_handled(self, route: str, method: str, status: int, seconds: float) -> None:
        """Called when a request has ended; `route` is the route's path, with its parameters' names."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request that is allowed.

    Attributes:
        request: the request, of which the body has been read.
        context: in place of gRPC's.
        body: the body; empty for GET.
    """

    request: Request
    context: HttpContext
    body: bytes


# Answers a call; raises `RequestError` or `HttpRefusal`.
Behaviour: TypeAlias = Callable[[Call], Awaitable[Response]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class HttpCalls:
    """Makes endpoints whose requests are checked, charged, bounded, observed and answered as those of gRPC are.

    Belongs to the event loop's thread.

    Args:
        observer: notified of every request.
        budget: bounds the bytes of bodies; the same as that of gRPC.
        authorizer: authorizes every request; None allows all.
        has_certificates: whether callers may have certificates, by which those without a token are known.
        charge: charges an image for every request that needs a right, before its body is read.
        traces: whether requests need a context for telemetry.
        has_tokens: whether callers are identified by tokens.
        body_times: how long a body may take.
    """

    def __init__(
        self,
        observer: HttpObserver,
        budget: ByteBudget,
        authorizer: Authorizer | None = None,
        has_certificates: bool = False,
        charge: Charge = no_charge,
        traces: bool = False,
        has_tokens: bool = False,
        body_times: BodyTimes = _BODY_TIMES,
    ) -> None:
        self._observer = observer
        self._budget = budget
        self._authorizer = authorizer
        self._has_certificates = has_certificates
        self._charge = charge
        self._traces = traces
        self._has_tokens = has_tokens
        self._body_times = body_times
        self.in_flight = 0

    def endpoint(self, operation: Operation, behaviour: Behaviour) -> Endpoint:
        """Returns the endpoint of an operation."""
        right = required_right(operation.service, operation.method)
        name = f"{operation.service}/{operation.method}"

        async def answer(request: Request) -> Response:
            context = HttpContext(request)
            if self._authorizer is not None and right is not None:
                caller = self._authorizer.authorize(right, context)
            else:
                caller = caller_without_token(context, self._has_certificates, Priority.HIGH)
            set_current_caller(caller)
            if self._traces:
                set_call_context(context, name, self._has_tokens)
            return await _by_deadline(context, self._answer(request, context, caller.identity, right, behaviour))

        return self.observed(name, answer)

    async def _answer(
        self, request: Request, context: HttpContext, identity: str, right: Right | None, behaviour: Behaviour
    ) -> Response:
        if right is not None:
            await self._charge(1.0)
        if request.method in ("GET", "HEAD"):
            return await behaviour(Call(request, context, b""))
        require_acceptable(request, self._budget.message_bytes)
        hold = self._budget.reserve_at_once(identity) or await self._budget.reserve(identity)
        try:
            seconds = context.time_remaining()
            body = await read_body(request, hold, self._budget, seconds, self._body_times)
            return await behaviour(Call(request, context, body))
        finally:
            hold.release()

    def observed(self, name: str, endpoint: Endpoint) -> Endpoint:
        """Returns an endpoint whose errors are problem documents, and which is cancelled if its caller leaves.

        Args:
            name: for the log.
            endpoint: answers a request.
        """

        async def observe(request: Request) -> Response:
            started = time.perf_counter()
            running: RunningRequest = request.scope[SCOPE_KEY]
            running.task = asyncio.current_task()
            self.in_flight += 1
            try:
                response = await _answered(name, endpoint, request, running)
            finally:
                self.in_flight -= 1
                running.task = None
            seconds = time.perf_counter() - started
            self._observer.http_handled(request.scope["route"].path, request.method, response.status_code, seconds)
            return response

        return observe


async def _by_deadline(context: HttpContext, answer: Awaitable[Response]) -> Response:
    """Returns the answer, or ends it a moment after its deadline: what knows of the deadline says it in better words.

    Raises:
        DeadlineExceeded: if it is not ready by then.
    """
    seconds = context.time_remaining()
    if seconds is None:
        return await answer
    try:
        async with asyncio.timeout(seconds + _LATE_SECONDS) as limit:
            return await answer
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceeded("the deadline passed before the request was answered", _LATE_SECONDS) from None


async def _answered(name: str, endpoint: Endpoint, request: Request, running: RunningRequest) -> Response:
    try:
        return await endpoint(request)
    except RequestError as error:
        return problem(error)
    except HttpRefusal as refusal:
        return refusal.response()
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED)
    except asyncio.CancelledError:
        is_ended = running.is_lost or running.is_stopped
        if not is_ended or running.task is None or running.task.uncancel():
            raise
        return Response(status_code=_CLIENT_CLOSED) if running.is_lost else problem(_STOPPING)
    except Exception as error:
        return problem(internal_failure(name, error))
