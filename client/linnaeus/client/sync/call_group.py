"""Calls that are cancelled together: those of one `classify_many`, or of one client.

A thread that waits for a call cannot be stopped; its call can be cancelled.
"""

import threading
from typing import Any, Generic, TypeVar, cast

import grpc

Request = TypeVar("Request")
Response = TypeVar("Response")


class CallGroup:
    """Calls that are cancelled together. Any thread may use it.

    Invariants:
        - after `cancel`, every call made through `wrap` is cancelled, even one that begins later;
        - after `cancel`, no thread is left in `pause`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight: set[Any] = set()
        self._cancelled = threading.Event()

    def wrap(
        self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]"
    ) -> "grpc.UnaryUnaryMultiCallable[Request, Response]":
        """Returns the method with every call added to this group while it is in flight."""
        return cast("grpc.UnaryUnaryMultiCallable[Request, Response]", _GroupedMethod(method, self))

    def cancel(self) -> None:
        """Cancels the calls in flight, at the server too, and every call that begins from now on."""
        with self._lock:
            self._cancelled.set()
            in_flight = tuple(self._in_flight)
        for call in in_flight:
            call.cancel()

    def pause(self, seconds: float) -> bool:
        """Waits before a call is sent again; returns False, at once, if the calls are cancelled."""
        return not self._cancelled.wait(seconds)

    def add(self, call: Any) -> None:
        """Adds a grpc.Future; it is removed when it is done."""
        with self._lock:
            self._in_flight.add(call)
            is_cancelled = self._cancelled.is_set()
        call.add_done_callback(self._remove)
        if is_cancelled:
            call.cancel()

    def _remove(self, call: Any) -> None:
        with self._lock:
            self._in_flight.discard(call)


class _GroupedMethod(Generic[Request, Response]):
    """A method that adds each of its calls to a group. A blocking call waits for the result of a future."""

    def __init__(self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", calls: CallGroup) -> None:
        self._method = method
        self._calls = calls

    def __call__(self, request: Request, *arguments: Any, **options: Any) -> Response:
        response: Response = self.future(request, *arguments, **options).result()
        return response

    def with_call(self, request: Request, *arguments: Any, **options: Any) -> Any:
        call = self.future(request, *arguments, **options)
        return call.result(), call

    def future(self, request: Request, *arguments: Any, **options: Any) -> Any:
        call = self._method.future(request, *arguments, **options)
        self._calls.add(call)
        return call
