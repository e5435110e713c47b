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
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

import grpc

from linnaeus.client.bulk.concurrency_window import Window
from linnaeus.client.bulk.outcome import Outcome, PendingImage
from linnaeus.client.bulk.stream_messages import StreamEnd, StreamRetries, read_stream_response, stream_request
from linnaeus.client.config import ClientConfig
from linnaeus.client.errors import LinnaeusError, Unavailable
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import Classification
from linnaeus.client.sync.connection import Connection
from linnaeus.client.sync.many import Images, Start, run_window
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.refusals import MAX_SENDS
from linnaeus.v1 import classifier_pb2 as messages

# Builds an image's request.
Build = Callable[[ImageSource], messages.ClassifyRequest]
# Opens a stream that sends the messages of the iterator; returns gRPC's call.
OpenStream = Callable[[Iterator[messages.StreamClassifyRequest]], Any]


def classify_stream(
    images: Images,
    build: Build,
    connect: Callable[[Deadline], AbstractContextManager[Connection]],
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
        connect: takes one of the client's connections until it is left.
        config: the client's.
        concurrency: the maximum number of images in flight.
        ordered: whether outcomes are yielded in the order of the images.
        timeout_seconds: of each image.
    """
    with connect(Deadline.after(timeout_seconds)) as connection:
        open_stream = partial(connection.classifier.StreamClassify, metadata=config.metadata)
        starter = _opened(Stream(config, open_stream, build, timeout_seconds))
        yield from run_window(images, starter, Window(concurrency, ordered=ordered))


@contextlib.contextmanager
def _opened(stream: "Stream") -> Iterator[Start]:
    try:
        yield stream.start
    finally:
        stream.close()


@dataclass(slots=True, eq=False)
class _Pending:
    """A message, until it has an answer; `sends` counts how often it was sent."""

    image: PendingImage
    message: messages.StreamClassifyRequest
    deadline: Deadline
    outcome: "Future[Outcome]"
    sends: int = 0

    def end(self, answer: Classification | LinnaeusError) -> None:
        self.outcome.set_result(self.image.outcome(answer))


_SendQueue = SimpleQueue[_Pending | None]


class Stream:
    """Sends images over one stream, or over another one if that is lost.

    Invariants:
        - every image that was started has one outcome, at the latest at its deadline, which the server knows however
          often the image is sent;
        - an image that was answered is never sent again; one without an answer is sent at most `MAX_SENDS` times, so
          that an image that ends streams does so no more often;
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
        self._retries = StreamRetries(config, timeout_seconds)
        self._changed = threading.Condition()
        self._pending: dict[int, _Pending] = {}
        self._call: Any = None
        self._to_send: _SendQueue | None = None  # None while no stream is open
        self._is_running = False
        self._is_closed = False
        self._threads: list[threading.Thread] = []
        self._start_thread(self._expire)

    def start(self, image: PendingImage) -> "Future[Outcome]":
        """Reads an image and sends it; each index occurs once."""
        future = Future[Outcome]()
        try:
            message = stream_request(self._build(image.source), image.index)
        except LinnaeusError as error:
            future.set_result(image.outcome(error))
            return future
        pending = _Pending(image, message, Deadline.after(self._timeout_seconds), future)
        with self._changed:
            self._pending[image.index] = pending
            if len(self._pending) == 1:
                self._changed.notify_all()
            if self._to_send is not None:
                _put(self._to_send, pending)
            elif not self._is_running:
                self._is_running = True
                self._start_thread(self._run)
        return future

    def close(self) -> None:
        """Cancels the stream, at the server too, and ends the threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            if self._call is not None:
                self._call.cancel()
            threads = tuple(self._threads)
        for thread in threads:
            thread.join()

    def _start_thread(self, target: Callable[[], None]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=target, name="linnaeus-classify-stream", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        """Opens one stream after another, until one ends and leaves no image to send again."""
        while (to_send := self._open()) is not None:
            failure = self._receive()
            to_send.put(None)  # ends gRPC's thread, which waits for another message
            self._handle_end(self._retries.stream_end(failure))

    def _open(self) -> _SendQueue | None:
        """Opens a stream for the images without an answer; returns None if there are none or the client is closed."""
        with self._changed:
            if self._pending and not self._is_closed:
                to_send: _SendQueue = SimpleQueue()
                try:
                    self._call = self._open_stream(_messages(to_send))
                except (RuntimeError, ValueError):
                    self._is_closed = True
                else:
                    for pending in self._pending.values():
                        _put(to_send, pending)
                    self._to_send = to_send
                    return to_send
            self._is_running = False
            self._end(Unavailable("the client was closed before there was an answer"), list(self._pending.values()))
            return None

    def _receive(self) -> grpc.RpcError | None:
        """Receives until the stream ends; returns its error."""
        try:
            for response in self._call:
                self._handle_response(response)
        except grpc.RpcError as error:
            return error
        return None

    def _handle_response(self, response: messages.StreamClassifyResponse) -> None:
        self._retries.record_answer()
        with self._changed:
            pending = self._pending.pop(response.correlation_id, None)
        if pending is not None:  # else its deadline has passed
            pending.end(read_stream_response(self._config, response, self._timeout_seconds))

    def _handle_end(self, end: StreamEnd) -> None:
        """Ends the images that are not sent again, and waits before the others are."""
        with self._changed:
            self._call = self._to_send = None
            delay_seconds = None if self._is_closed else end.resend_after_seconds
            is_final = delay_seconds is None
            self._end(end.error, [each for each in self._pending.values() if is_final or each.sends >= MAX_SENDS])
            if self._pending:
                self._changed.wait_for(lambda: self._is_closed, delay_seconds)

    def _end(self, error: LinnaeusError, images: list[_Pending]) -> None:
        for pending in images:
            del self._pending[pending.image.index]
            pending.end(error)

    def _expire(self) -> None:
        """Ends each image whose deadline has passed. All have the same timeout, so the oldest expires first."""
        with self._changed:
            while not self._is_closed:
                oldest = next(iter(self._pending.values()), None)
                remaining_seconds = None if oldest is None else oldest.deadline.ends_at_seconds - time.monotonic()
                if oldest is None or remaining_seconds is None or remaining_seconds > 0:
                    self._changed.wait(remaining_seconds)
                    continue
                self._end(self._config.deadline_error(self._timeout_seconds), [oldest])


def _put(to_send: _SendQueue, pending: _Pending) -> None:
    pending.sends += 1
    to_send.put(pending)


def _messages(to_send: _SendQueue) -> Iterator[messages.StreamClassifyRequest]:
    """Yields each message when gRPC is ready to send it, with the time that its image has left by then."""
    while (pending := to_send.get()) is not None:
        if not pending.outcome.done():
            pending.message.timeout_seconds = pending.deadline.remaining_seconds
            yield pending.message
