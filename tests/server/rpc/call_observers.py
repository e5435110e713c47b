"""Call observers shared by tests."""

import asyncio

from linnaeus.server.rpc.interceptor import Method


class NullCallObserver:
    """A `CallObserver` that ignores every call."""

    def call_started(self, method: Method) -> None:
        pass

    def call_handled(self, method: Method, code: str, seconds: float) -> None:
        pass


class QueueingCallObserver:
    """A `CallObserver` that queues the names of started methods and the status codes of ended calls."""

    def __init__(self) -> None:
        self.started: asyncio.Queue[str] = asyncio.Queue()
        self.codes: asyncio.Queue[str] = asyncio.Queue()

    def call_started(self, method: Method) -> None:
        self.started.put_nowait(method.name)

    def call_handled(self, method: Method, code: str, seconds: float) -> None:
        self.codes.put_nowait(code)
