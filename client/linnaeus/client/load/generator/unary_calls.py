"""Sends Classify and ClassifyBatch calls over one connection and reads their responses.

Does not know when or why a request is sent. Nothing is sent twice: gRPC's retries are off, and there are no others.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError

from linnaeus.client.load.generator.records import TopClass
from linnaeus.client.load.generator.request_messages import RequestMessage
from linnaeus.client.transport.addresses import parse_addresses
from linnaeus.client.transport.channel_options import authority_options
from linnaeus.client.transport.tls import Tls
from linnaeus.v1 import classifier_pb2 as messages

SERVICE = "/linnaeus.v1.ClassifierService/"
OK = grpc.StatusCode.OK.value[0]
INTERNAL = grpc.StatusCode.INTERNAL.value[0]
CHANNEL_OPTIONS = [
    ("grpc.enable_retries", 0),
    # Without this, channels to one address share one connection.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
]
# Of several addresses, each in turn; gRPC's default uses one until it is lost.
_IN_TURN = [
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.service_config_disable_resolution", 1),
]
_UNREADABLE = "the response cannot be parsed"

# The result of an image: the number of a status code, the most probable class if that is 0, the status's sentence.
ImageResult = tuple[int, TopClass | None, str]
# For every image of a request, in order.
Results = Sequence[ImageResult]
Metadata = tuple[tuple[str, str], ...]
OnEnd = Callable[[Results], None]
Cancel = Callable[[], object]


class Caller(Protocol):
    """One connection; any thread may use it."""

    def start(self, message: RequestMessage, timeout_seconds: float, on_end: OnEnd) -> Cancel:
        """Sends a request and returns at once.

        Args:
            message: the request.
            timeout_seconds: of the call.
            on_end: called exactly once, in any thread, possibly before this method returns.

        Returns:
            A function that cancels the call; it then ends as CANCELLED unless it has ended already.
        """

    def expire(self) -> None:
        """Ends the calls whose deadline has passed, if gRPC does not do that; called a few times a second."""

    def close(self) -> None:
        """Cancels what is in flight and closes the connection."""


def open_channel(target: str, timeout_seconds: float, tls: Tls | None = None) -> grpc.Channel:
    """Opens a channel and waits for its connection. If that takes too long, the calls will fail.

    Args:
        target: one gRPC target; its addresses, if there are several, take turns.
        timeout_seconds: how long to wait.
        tls: None for a plain connection.
    """
    options = [*CHANNEL_OPTIONS, *_IN_TURN, *authority_options(parse_addresses(target), tls)]
    if tls is None:
        channel = grpc.insecure_channel(target, options=options)
    else:
        channel = grpc.secure_channel(target, tls.credentials(), options=options)
    ready = grpc.channel_ready_future(channel)
    try:
        ready.result(timeout=timeout_seconds)
    except grpc.FutureTimeoutError:
        ready.cancel()
    return channel


class UnaryCaller:
    """Sends each request as a call of its own.

    gRPC's futures cost about 0.15 ms of CPU time a call, two thirds of what its asyncio API takes: the callback runs in
    the channel's own thread, and no other thread is woken.
    """

    def __init__(
        self, channel: grpc.Channel, method: str, read: Callable[[bytes, int], Results], metadata: Metadata = ()
    ) -> None:
        self._channel = channel
        self._metadata = metadata
        self._call: Any = channel.unary_unary(SERVICE + method)  # without serialisers it takes and returns bytes
        self._read = read

    def start(self, message: RequestMessage, timeout_seconds: float, on_end: OnEnd) -> Cancel:
        """Sends a request; see `Caller`."""
        count = len(message.images)
        future = self._call.future(message.body, timeout=timeout_seconds, metadata=self._metadata)
        future.add_done_callback(lambda future: on_end(self._results(future, count)))
        cancel: Cancel = future.cancel
        return cancel

    def expire(self) -> None:
        """Does nothing: gRPC enforces the deadline of every call."""

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _results(self, future: Any, count: int) -> Results:
        code: int = future.code().value[0]
        return failed(code, count, future.details() or "") if code else self._read(future.result(), count)


def failed(code: int, count: int, sentence: str = "") -> Results:
    """Returns the same status for every image of a request."""
    return [(code, None, sentence)] * count


def read_response(body: bytes, count: int) -> Results:
    """Reads a `ClassifyResponse`. One that cannot be parsed is INTERNAL, as gRPC itself has it."""
    try:
        response = messages.ClassifyResponse.FromString(body)
    except DecodeError:
        return failed(INTERNAL, count, _UNREADABLE)
    return [_result(response.classes)]


def read_batch_response(body: bytes, count: int) -> Results:
    """Reads a `ClassifyBatchResponse`. One that cannot be parsed, or is of another length, is INTERNAL."""
    try:
        results = messages.ClassifyBatchResponse.FromString(body).results
    except DecodeError:
        return failed(INTERNAL, count, _UNREADABLE)
    if len(results) != count:
        return failed(INTERNAL, count, f"the response has {len(results)} results for {count} images")
    return [read_image_result(each) for each in results]


def read_image_result(result: messages.ImageResult) -> ImageResult:
    """Reads the result of one image of a batch or stream. An error without a code is INTERNAL."""
    if result.WhichOneof("outcome") == "classification":
        return _result(result.classification.classes)
    return result.error.code or INTERNAL, None, result.error.message


def _result(classes: Sequence[messages.ScoredClass]) -> ImageResult:
    if not classes:
        return INTERNAL, None, "the response names no class"
    top = classes[0]
    return OK, (top.index, top.label, top.probability), ""
