"""The attempts of one hedged call as gRPC's futures; `aio/attempts.py` has the same names for tasks."""

import queue
from collections.abc import Callable
from typing import Any

import grpc


class Attempts:
    """The attempts in flight; used by the thread that waits for them.

    Args:
        send: starts an attempt; returns gRPC's future.
    """

    def __init__(self, send: Callable[[], Any]) -> None:
        self._send = send
        self._futures: list[Any] = []
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._first_ended: Any = None

    @property
    def first(self) -> Any:
        """The attempt that was started first."""
        return self._futures[0]

    def start(self) -> None:
        """Starts another attempt."""
        future = self._send()
        self._futures.append(future)
        future.add_done_callback(self._ended.put)

    def ended_within(self, seconds: float) -> bool:
        """Waits for an attempt to end; returns False if none does in time."""
        try:
            self._first_ended = self._ended.get(timeout=seconds)
        except queue.Empty:
            return False
        return True

    def winner(self) -> Any:
        """Returns the first attempt that succeeds.

        Raises:
            grpc.RpcError: the first attempt's error, if all fail.
        """
        for _ in range(len(self._futures)):
            ended = self._first_ended or self._ended.get()
            self._first_ended = None
            if ended.code() is grpc.StatusCode.OK:
                return ended
        raise self.first

    def cancel(self) -> None:
        """Cancels what has not ended."""
        for future in self._futures:
            future.cancel()
