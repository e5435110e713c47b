"""Many pictures over one call of the blocking client: sent as they are read, answered as they are ready.

Owns the stream and what waits for its answers. The threads that meet here:
    - the caller's, which reads pictures and sends them (`start`);
    - one for each open stream, which takes its answers;
    - one that ends pictures whose time is over.

Knows nothing of channels: how a stream is opened comes in as a function. `streaming_aio` is the same for asyncio.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeAlias

import grpc

from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.config import Core
from linnaeus.client.errors import LinnaeusError, ServerFailure
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.protocol.responses import read_image_result
from linnaeus.client.results import Classification
from linnaeus.v1 import classifier_pb2 as messages

DEFAULT_STREAM_CONCURRENCY = 64

Requests: TypeAlias = "SimpleQueue[messages.StreamClassifyRequest | None]"
Build = Callable[[ImageSource], messages.ClassifyRequest]
# Opens a stream that sends what the iterator gives; returns gRPC's call.
Open = Callable[[Iterator[messages.StreamClassifyRequest]], Any]

# With these a stream ends whose pictures another one may answer: the server stops, or the connection is lost.
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def is_lost(code: grpc.StatusCode, was_answered: bool) -> bool:
    """Whether what has no answer is sent over another stream.

    gRPC itself tries a stream again that ends before its first answer, with the waits of any call: that is not done a
    second time here, so a server that is gone is reported as soon as ever.
    """
    return was_answered and code in _LOST


def stream_request(
    request: messages.ClassifyRequest, correlation_id: int, timeout_seconds: float
) -> messages.StreamClassifyRequest:
    """The same question as part of a stream."""
    return messages.StreamClassifyRequest(
        correlation_id=correlation_id,
        image=request.image,
        model=request.model,
        version=request.version,
        top_k=request.top_k,
        priority=request.priority,
        timeout_seconds=timeout_seconds,
    )


def read_stream_response(
    core: Core, response: messages.StreamClassifyResponse, timeout_seconds: float
) -> Classification:
    """Reads what became of one picture.

    Raises:
        LinnaeusError: it has no answer.
    """
    if response.result.WhichOneof("outcome") != "classification":
        raise core.image_error(response.result.error, timeout_seconds)
    return read_image_result(response.result, response.model, response.version)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A picture that was sent and has no answer yet."""

    message: messages.StreamClassifyRequest
    source: ImageSource
    started: float
    ends_at: float
    outcome: "Future[Outcome]"

    def end(self, result: Classification | None, error: LinnaeusError | None) -> None:
        elapsed_seconds = time.perf_counter() - self.started
        self.outcome.set_result(Outcome(self.message.correlation_id, self.source, result, error, elapsed_seconds))


class Stream:
    """Sends pictures over one stream, or over another one when that is lost.

    Invariants:
        - every picture that was started has one outcome, at the latest when its time is over;
        - a picture that was answered is never sent again; one without an answer is, when its stream is lost after it
          had answered others;
        - after `close` no thread of it is left, and the server knows that nobody waits.

    Args:
        core: the client's.
        open_stream: see `Open`.
        build: makes a picture's request.
        timeout_seconds: how long each picture may take.
    """

    def __init__(self, core: Core, open_stream: Open, build: Build, timeout_seconds: float) -> None:
        self._core = core
        self._open_stream = open_stream
        self._build = build
        self._timeout_seconds = timeout_seconds
        self._changed = threading.Condition()
        self._waiting: dict[int, _Waiting] = {}
        self._call: Any = None
        self._requests: Requests = SimpleQueue()
        self._is_closed = False
        self._threads: list[threading.Thread] = []
        self._begin_thread(self._end_late)

    def start(self, index: int, image: ImageSource) -> "Future[Outcome]":
        """Reads a picture and sends it; each index comes once."""
        started, outcome = time.perf_counter(), Future[Outcome]()
        try:
            message = stream_request(self._build(image), index, self._timeout_seconds)
        except LinnaeusError as error:
            outcome.set_result(Outcome(index, image, None, error, time.perf_counter() - started))
            return outcome
        ends_at = time.monotonic() + self._timeout_seconds
        with self._changed:
            self._waiting[index] = _Waiting(message, image, started, ends_at, outcome)
            if len(self._waiting) == 1:
                self._changed.notify_all()
            if self._call is None:
                self._open()
            self._requests.put(message)
        return outcome

    def close(self) -> None:
        """Gives up what has no outcome."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            if self._call is not None:
                self._call.cancel()
            self._requests.put(None)
            threads = tuple(self._threads)
        for thread in threads:
            thread.join()

    def _begin_thread(self, target: Callable[..., None], *arguments: Any) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=target, args=arguments, name="linnaeus-classify-stream", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _open(self) -> None:
        self._requests = SimpleQueue()
        self._call = self._open_stream(iter(self._requests.get, None))
        self._begin_thread(self._receive, self._call, self._requests)

    def _receive(self, call: Any, requests: Requests) -> None:
        was_answered = False
        try:
            for response in call:
                was_answered = True
                self._settle(response)
        except grpc.RpcError as failure:
            error, lost = self._core.stream_error(failure, self._timeout_seconds), is_lost(call.code(), was_answered)
        else:
            error, lost = ServerFailure("the server ended the stream before it had answered every picture"), False
        requests.put(None)  # lets gRPC's thread go that waits for more
        self._ended(error, lost)

    def _settle(self, response: messages.StreamClassifyResponse) -> None:
        with self._changed:
            waiting = self._waiting.pop(response.correlation_id, None)
        if waiting is None:
            return  # its time was over
        try:
            waiting.end(read_stream_response(self._core, response, self._timeout_seconds), None)
        except LinnaeusError as error:
            waiting.end(None, error)

    def _ended(self, error: LinnaeusError, lost: bool) -> None:
        with self._changed:
            self._call = None
            if lost and not self._is_closed and self._has_moved():
                return
            left = list(self._waiting.values())
            self._waiting.clear()
        for waiting in left:
            waiting.end(None, error)

    def _has_moved(self) -> bool:
        """Sends what has no answer over another stream; False if the client is closed."""
        if self._waiting:
            try:
                self._open()
            except (RuntimeError, ValueError):  # of the client, and of a channel that is closed meanwhile
                return False
            for waiting in self._waiting.values():
                self._requests.put(waiting.message)
        return True

    def _end_late(self) -> None:
        """Ends each picture whose time is over; all have the same, so the first sent is the first late."""
        with self._changed:
            while not self._is_closed:
                first = next(iter(self._waiting.values()), None)
                left_seconds = None if first is None else first.ends_at - time.monotonic()
                if first is None or left_seconds is None or left_seconds > 0:
                    self._changed.wait(left_seconds)
                    continue
                del self._waiting[first.message.correlation_id]
                first.end(None, self._core.late(self._timeout_seconds))
