"""Sends requests over one StreamClassify call and matches the answers by correlation id.

Does not know when or why a request is sent.
"""

import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

import grpc

from linnaeus.client.load.generator.request_messages import RequestMessage
from linnaeus.client.load.generator.unary_calls import (
    SERVICE,
    Cancel,
    Metadata,
    OnEnd,
    Results,
    failed,
    read_image_result,
)
from linnaeus.v1 import classifier_pb2 as messages

CANCELLED = grpc.StatusCode.CANCELLED.value[0]
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]
_LATE = "no answer came within the deadline"
_ENDED = "the stream ended before the answer came"
_MIN_SECONDS = 1e-6  # the server takes 0 for no time limit


class StreamCaller:
    """Sends requests over one stream and opens another one when it has ended; any thread may use it.

    Invariants:
        - the server is told how much time each request has. A request without an answer by then ends as
          DEADLINE_EXCEEDED; a later answer is dropped;
        - when the stream ends, so does every request in flight, with the stream's status, or UNAVAILABLE if that is OK:
          the server left requests without an answer.
    """

    def __init__(self, channel: grpc.Channel, metadata: Metadata = ()) -> None:
        self._channel = channel
        method: Any = channel.stream_stream(
            SERVICE + "StreamClassify", response_deserializer=messages.StreamClassifyResponse.FromString
        )
        self._method: Any = partial(method, metadata=metadata)
        self._lock = threading.Lock()
        self._stream: _Stream | None = None

    def start(self, message: RequestMessage, timeout_seconds: float, on_end: OnEnd) -> Cancel:
        """Sends a request; see `Caller`."""
        with self._lock:
            if self._stream is None or self._stream.has_ended:
                self._stream = _Stream(self._method)
            stream = self._stream
        return stream.send(message, time.monotonic() + timeout_seconds, on_end)

    def expire(self) -> None:
        """Ends the requests whose deadline has passed."""
        stream = self._stream
        if stream is not None:
            stream.expire(time.monotonic())

    def close(self) -> None:
        """Ends the stream and closes the connection."""
        with self._lock:
            if self._stream is not None:
                self._stream.close()
        self._channel.close()


class _Pending(NamedTuple):
    deadline: float
    on_end: OnEnd


class _Stream:
    """One stream, from its first request to its end."""

    def __init__(self, method: Any) -> None:
        self._lock = threading.Lock()
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0
        self._bodies: SimpleQueue[bytes | None] = SimpleQueue()
        self._responses = method(iter(self._bodies.get, None))
        self.has_ended = False
        threading.Thread(target=self._receive, daemon=True).start()

    def send(self, message: RequestMessage, deadline: float, on_end: OnEnd) -> Cancel:
        with self._lock:
            self._last_id += 1
            correlation_id, has_ended = self._last_id, self.has_ended
            self._pending[correlation_id] = _Pending(deadline, on_end)
        # Serialised messages of one type may be concatenated: their fields are merged.
        seconds = max(deadline - time.monotonic(), _MIN_SECONDS)
        head = messages.StreamClassifyRequest(correlation_id=correlation_id, timeout_seconds=seconds)
        self._bodies.put(head.SerializeToString() + message.body)
        if has_ended:
            self._end(correlation_id, failed(UNAVAILABLE, 1, _ENDED))
        return partial(self._end, correlation_id, failed(CANCELLED, 1))

    def expire(self, now: float) -> None:
        with self._lock:
            late = [correlation_id for correlation_id, pending in self._pending.items() if pending.deadline <= now]
        for correlation_id in late:
            self._end(correlation_id, failed(DEADLINE_EXCEEDED, 1, _LATE))

    def close(self) -> None:
        self._bodies.put(None)
        self._responses.cancel()

    def _receive(self) -> None:
        code, sentence = UNAVAILABLE, _ENDED
        try:
            for response in self._responses:
                self._end(response.correlation_id, [read_image_result(response.result)])
        except grpc.RpcError as error:
            code, sentence = error.code().value[0], error.details() or ""
        self._handle_end(code, sentence)

    def _handle_end(self, code: int, sentence: str) -> None:
        with self._lock:
            self.has_ended = True
            unanswered = list(self._pending)
        self._bodies.put(None)  # ends gRPC's thread, which waits for another message
        for correlation_id in unanswered:
            self._end(correlation_id, failed(code, 1, sentence))

    def _end(self, correlation_id: int, results: Results) -> None:
        with self._lock:
            pending = self._pending.pop(correlation_id, None)
        if pending is not None:
            pending.on_end(results)
