"""Sends messages over one long-lived `StreamClassify` call and pairs answers with them by correlation id.

It must not know when or why a message is sent.
"""

import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

import grpc

from linnaeus.client.load.generator.request_messages import Message
from linnaeus.client.load.generator.unary_calls import SERVICE, Cancel, Ended, Results, failed, read_result
from linnaeus.v1 import classifier_pb2 as messages

CANCELLED = grpc.StatusCode.CANCELLED.value[0]
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]
_LEAST_SECONDS = 1e-6  # to the server, 0 is no time limit


class StreamCaller:
    """Messages that share one stream, which is opened anew when it has ended; any thread may use it.

    - The server is told how much time each message has. One whose answer is not there by then ends as
      DEADLINE_EXCEEDED; an answer that comes later is dropped.
    - When the stream ends, so does every message in flight, with the stream's status (UNAVAILABLE where that is OK:
      the server left questions open).
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._method: Any = channel.stream_stream(
            SERVICE + "StreamClassify", response_deserializer=messages.StreamClassifyResponse.FromString
        )
        self._lock = threading.Lock()
        self._stream: _Stream | None = None

    def begin(self, message: Message, timeout_seconds: float, ended: Ended) -> Cancel:
        """Sends a message; see `Caller`."""
        with self._lock:
            if self._stream is None or self._stream.is_over:
                self._stream = _Stream(self._method)
            stream = self._stream
        return stream.send(message, time.monotonic() + timeout_seconds, ended)

    def end_late(self) -> None:
        """Ends the messages whose deadline has passed."""
        stream = self._stream
        if stream is not None:
            stream.end_late(time.monotonic())

    def close(self) -> None:
        """Ends the stream and closes the connection."""
        with self._lock:
            if self._stream is not None:
                self._stream.close()
        self._channel.close()


class _Waiting(NamedTuple):
    deadline: float
    ended: Ended


class _Stream:
    """One stream, from its first message to its end."""

    def __init__(self, method: Any) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._last_identity = 0
        self._bodies: SimpleQueue[bytes | None] = SimpleQueue()
        self._answers = method(iter(self._bodies.get, None))
        self.is_over = False
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message: Message, deadline: float, ended: Ended) -> Cancel:
        with self._lock:
            self._last_identity += 1
            identity, is_over = self._last_identity, self.is_over
            self._waiting[identity] = _Waiting(deadline, ended)
        # Serialised messages of one kind may be put end to end: the fields add up.
        seconds = max(deadline - time.monotonic(), _LEAST_SECONDS)
        head = messages.StreamClassifyRequest(correlation_id=identity, timeout_seconds=seconds).SerializeToString()
        self._bodies.put(head + message.body)
        if is_over:
            self._end(identity, failed(UNAVAILABLE, 1))
        return partial(self._end, identity, failed(CANCELLED, 1))

    def end_late(self, now: float) -> None:
        with self._lock:
            late = [identity for identity, waiting in self._waiting.items() if waiting.deadline <= now]
        for identity in late:
            self._end(identity, failed(DEADLINE_EXCEEDED, 1))

    def close(self) -> None:
        self._bodies.put(None)
        self._answers.cancel()

    def _read(self) -> None:
        code = UNAVAILABLE
        try:
            for answer in self._answers:
                self._end(answer.correlation_id, [read_result(answer.result)])
        except grpc.RpcError as error:
            code = error.code().value[0]
        self._finish(code)

    def _finish(self, code: int) -> None:
        with self._lock:
            self.is_over = True
            left = list(self._waiting)
        self._bodies.put(None)  # lets gRPC's thread that waits for more messages go
        for identity in left:
            self._end(identity, failed(code, 1))

    def _end(self, identity: int, results: Results) -> None:
        with self._lock:
            waiting = self._waiting.pop(identity, None)
        if waiting is not None:
            waiting.ended(results)
