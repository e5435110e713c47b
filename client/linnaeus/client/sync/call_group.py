"""The blocking calls that belong together, so that whoever leaves early can end them all at once.

Knows gRPC's futures and nothing of pictures. A thread that waits for a call cannot be stopped; its call can.
"""

import threading
from typing import Any, Generic, TypeVar, cast

import grpc

Request = TypeVar("Request")
Response = TypeVar("Response")


class Calls:
    """The calls under way of one task that has many.

    Invariants:
        - any thread may use it;
        - after `cancel`, every call made through it is cancelled, also one that begins later.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: set[Any] = set()
        self._cancelled = False

    def through(
        self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]"
    ) -> "grpc.UnaryUnaryMultiCallable[Request, Response]":
        """The same method, whose calls are known here while they are under way."""
        return cast("grpc.UnaryUnaryMultiCallable[Request, Response]", _Known(method, self))

    def cancel(self) -> None:
        """Cancels what is under way, at the server too, and whatever would begin from now on."""
        with self._lock:
            self._cancelled = True
            under_way = tuple(self._under_way)
        for call in under_way:
            call.cancel()

    def begun(self, call: Any) -> None:
        """Keeps a grpc.Future until it is done."""
        with self._lock:
            self._under_way.add(call)
            cancelled = self._cancelled
        call.add_done_callback(self._ended)
        if cancelled:
            call.cancel()

    def _ended(self, call: Any) -> None:
        with self._lock:
            self._under_way.discard(call)


class _Known(Generic[Request, Response]):
    """A method whose every call is registered; a blocking call is a future that is waited for."""

    def __init__(self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", calls: Calls) -> None:
        self._method = method
        self._calls = calls

    def __call__(self, request: Request, *arguments: Any, **options: Any) -> Response:
        answer: Response = self.future(request, *arguments, **options).result()
        return answer

    def with_call(self, request: Request, *arguments: Any, **options: Any) -> Any:
        call = self.future(request, *arguments, **options)
        return call.result(), call

    def future(self, request: Request, *arguments: Any, **options: Any) -> Any:
        call = self._method.future(request, *arguments, **options)
        self._calls.begun(call)
        return call
