"""`classify_stream` in threads: many images over one StreamClassify call; `aio/stream.py` does it on an event loop.

Three kinds of threads share a `Stream`:
    - the caller's thread reads images and sends them;
    - a thread for each open stream receives the answers;
    - a thread ends images whose deadline has passed.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeAlias

import grpc

from linnaeus.client.bulk.concurrency_window import Window
from linnaeus.client.bulk.outcome import Outcome, PendingImage
from linnaeus.client.bulk.stream_messages import StreamEnd, read_stream_response, stream_end, stream_request
from linnaeus.client.config import ClientConfig
from linnaeus.client.errors import LinnaeusError
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import Classification
from linnaeus.client.sync.connection import Connection
from linnaeus.client.sync.many import Images, Start, run_window
from linnaeus.v1 import classifier_pb2 as messages

# Builds an image's request.
Build = Callable[[ImageSource], messages.ClassifyRequest]
# Opens a stream that sends the messages of the iterator; returns gRPC's call.
OpenStream = Callable[[Iterator[messages.StreamClassifyRequest]], Any]
_SendQueue: TypeAlias = "SimpleQueue[messages.StreamClassifyRequest | None]"


def classify_stream(
    images: Images,
    build: Build,
    connect: Callable[[], Connection],
    config: ClientConfig,
    *,
    concurrency: int,
    ordered: bool,
    timeout_seconds: float,
) -> Generator[Outcome, None, None]:
    """Classifies every image; `Client.classify_stream` documents the arguments and the promises.

    Args:
        images: the images.
        build: builds an image's request.
        connect: returns the client's connection.
        config: the client's.
        concurrency: the maximum number of images in flight.
        ordered: whether outcomes are yielded in the order of the images.
        timeout_seconds: of each image.
    """
    classifier = connect().classifier

    def open_stream(requests: Iterator[messages.StreamClassifyRequest]) -> Any:
        return classifier.StreamClassify(requests, metadata=config.metadata)

    starter = _opened(Stream(config, open_stream, build, timeout_seconds))
    yield from run_window(images, starter, Window(concurrency, ordered=ordered))


@contextlib.contextmanager
def _opened(stream: "Stream") -> Iterator[Start]:
    try:
        yield stream.start
    finally:
        stream.close()


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """A message without an answer."""

    image: PendingImage
    message: messages.StreamClassifyRequest
    ends_at_seconds: float
    outcome: "Future[Outcome]"

    def end(self, answer: Classification | LinnaeusError) -> None:
        self.outcome.set_result(self.image.outcome(answer))


class Stream:
    """Sends images over one stream, or over another one if that is lost.

    Invariants:
        - every image that was started has one outcome, at the latest at its deadline;
        - an image that was answered is never sent again; one without an answer is, if its stream is lost after it had
          answered others;
        - after `close` no thread is left, and the call is cancelled at the server.

    Args:
        config: the client's.
        open_stream: see `OpenStream`.
        build: builds an image's request.
        timeout_seconds: of each image.
    """

    def __init__(self, config: ClientConfig, open_stream: OpenStream, build: Build, timeout_seconds: float) -> None:
        self._config = config
        self._open_stream = open_stream
        self._build = build
        self._timeout_seconds = timeout_seconds
        self._changed = threading.Condition()
        self._pending: dict[int, _Pending] = {}
        self._call: Any = None
        self._to_send: _SendQueue = SimpleQueue()
        self._is_closed = False
        self._threads: list[threading.Thread] = []
        self._start_thread(self._expire)

    def start(self, image: PendingImage) -> "Future[Outcome]":
        """Reads an image and sends it; each index occurs once."""
        future = Future[Outcome]()
        try:
            message = stream_request(self._build(image.source), image.index, self._timeout_seconds)
        except LinnaeusError as error:
            future.set_result(image.outcome(error))
            return future
        ends_at_seconds = time.monotonic() + self._timeout_seconds
        with self._changed:
            self._pending[image.index] = _Pending(image, message, ends_at_seconds, future)
            if len(self._pending) == 1:
                self._changed.notify_all()
            if self._call is None:
                self._open()
            self._to_send.put(message)
        return future

    def close(self) -> None:
        """Cancels the stream, at the server too, and ends the threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            if self._call is not None:
                self._call.cancel()
            self._to_send.put(None)
            threads = tuple(self._threads)
        for thread in threads:
            thread.join()

    def _start_thread(self, target: Callable[..., None], *arguments: Any) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=target, args=arguments, name="linnaeus-classify-stream", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _open(self) -> None:
        self._to_send = SimpleQueue()
        self._call = self._open_stream(iter(self._to_send.get, None))
        self._start_thread(self._receive, self._call, self._to_send)

    def _receive(self, call: Any, to_send: _SendQueue) -> None:
        was_answered, failure = False, None
        try:
            for response in call:
                was_answered = True
                self._handle_response(response)
        except grpc.RpcError as error:
            failure = error
        to_send.put(None)  # ends gRPC's thread, which waits for another message
        self._handle_end(
            stream_end(self._config, failure, was_answered=was_answered, timeout_seconds=self._timeout_seconds)
        )

    def _handle_response(self, response: messages.StreamClassifyResponse) -> None:
        with self._changed:
            pending = self._pending.pop(response.correlation_id, None)
        if pending is not None:  # else its deadline has passed
            pending.end(read_stream_response(self._config, response, self._timeout_seconds))

    def _handle_end(self, end: StreamEnd) -> None:
        with self._changed:
            self._call = None
            if end.resend and not self._is_closed and self._has_resent():
                return
            unanswered = list(self._pending.values())
            self._pending.clear()
        for pending in unanswered:
            pending.end(end.error)

    def _has_resent(self) -> bool:
        """Sends the images without an answer over another stream; returns False if the client is closed."""
        if self._pending:
            try:
                self._open()
            except (RuntimeError, ValueError):
                return False
            for pending in self._pending.values():
                self._to_send.put(pending.message)
        return True

    def _expire(self) -> None:
        """Ends each image whose deadline has passed. All have the same timeout, so the oldest expires first."""
        with self._changed:
            while not self._is_closed:
                oldest = next(iter(self._pending.values()), None)
                remaining_seconds = None if oldest is None else oldest.ends_at_seconds - time.monotonic()
                if oldest is None or remaining_seconds is None or remaining_seconds > 0:
                    self._changed.wait(remaining_seconds)
                    continue
                del self._pending[oldest.image.index]
                oldest.end(self._config.deadline_error(self._timeout_seconds))
