"""Sends one message over one connection and hands back what came of it: the only room that talks gRPC.

It must not know when or why a message is sent. Nothing is sent twice: gRPC's retries are off, and there are no others.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError

from linnaeus.client.load.generator.records import Top
from linnaeus.client.load.generator.request_messages import Message
from linnaeus.v1 import classifier_pb2 as messages

SERVICE = "/linnaeus.v1.ClassifierService/"
OK = grpc.StatusCode.OK.value[0]
INTERNAL = grpc.StatusCode.INTERNAL.value[0]
CHANNEL_OPTIONS = [
    ("grpc.enable_retries", 0),
    # Channels to one address share one connection unless told not to.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]

# For every picture of a message, in order: a status code's number and, when that is 0, the best class.
Results = Sequence[tuple[int, Top | None]]
Ended = Callable[[Results], None]
Cancel = Callable[[], object]


class Caller(Protocol):
    """One connection; any thread may use it."""

    def begin(self, message: Message, timeout_seconds: float, ended: Ended) -> Cancel:
        """Sends a message and returns at once.

        `ended` is called exactly once, on any thread, perhaps before this returns. What is returned gives the call up:
        it then ends as CANCELLED, unless it had ended already.
        """

    def end_late(self) -> None:
        """Ends the messages whose deadline has passed, where gRPC does not; called a few times a second."""

    def close(self) -> None:
        """Gives up what is in flight and closes the connection."""


def open_channel(target: str, patience_seconds: float) -> grpc.Channel:
    """A channel that is connected, or had that long to become so: what fails then shows in the calls."""
    channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
    ready = grpc.channel_ready_future(channel)
    try:
        ready.result(timeout=patience_seconds)
    except grpc.FutureTimeoutError:
        ready.cancel()
    return channel


class SingleCaller:
    """Messages that are calls of their own: `Classify` and `ClassifyBatch`.

    gRPC's futures cost about 0.15 ms of processor time a call, two thirds of what its asyncio interface takes: the
    callback runs on the channel's own thread, and nothing is woken to hand it on.
    """

    def __init__(self, channel: grpc.Channel, method: str, read: Callable[[bytes, int], Results]) -> None:
        self._channel = channel
        self._call: Any = channel.unary_unary(SERVICE + method)  # without serialisers, bytes go in and come out
        self._read = read

    def begin(self, message: Message, timeout_seconds: float, ended: Ended) -> Cancel:
        """Sends a message; see `Caller`."""
        count = len(message.pictures)
        future = self._call.future(message.body, timeout=timeout_seconds)
        future.add_done_callback(lambda future: ended(self._results(future, count)))
        cancel: Cancel = future.cancel
        return cancel

    def end_late(self) -> None:
        """Nothing: gRPC keeps the deadline of every call."""

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _results(self, future: Any, count: int) -> Results:
        code: int = future.code().value[0]
        return failed(code, count) if code else self._read(future.result(), count)


def failed(code: int, count: int) -> Results:
    """The same status for every picture of a message."""
    return [(code, None)] * count


def read_answer(body: bytes, count: int) -> Results:
    """Reads a `ClassifyResponse`; one that cannot be read is INTERNAL, as it is to gRPC itself."""
    try:
        answer = messages.ClassifyResponse.FromString(body)
    except DecodeError:
        return failed(INTERNAL, count)
    return [_result(answer.classes)]


def read_batch(body: bytes, count: int) -> Results:
    """Reads a `ClassifyBatchResponse`; one that cannot be read, or is of another length, is INTERNAL."""
    try:
        results = messages.ClassifyBatchResponse.FromString(body).results
    except DecodeError:
        return failed(INTERNAL, count)
    return [read_result(each) for each in results] if len(results) == count else failed(INTERNAL, count)


def read_result(result: messages.ImageResult) -> tuple[int, Top | None]:
    """Reads what became of one image among many; an error without a code is INTERNAL."""
    if result.WhichOneof("outcome") == "classification":
        return _result(result.classification.classes)
    return result.error.code or INTERNAL, None


def _result(classes: Sequence[messages.ScoredClass]) -> tuple[int, Top | None]:
    if not classes:
        return INTERNAL, None
    best = classes[0]
    return OK, (best.index, best.label, best.probability)
