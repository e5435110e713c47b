"""The messages of StreamClassify, and what the end of a stream means for the images without an answer.

Shared by the streams of the blocking and the asyncio client.
"""

from dataclasses import dataclass

import grpc

from linnaeus.client.config import ClientConfig
from linnaeus.client.errors import LinnaeusError, Overloaded, ServerFailure
from linnaeus.client.protocol.error_details import read_pushback
from linnaeus.client.protocol.responses import read_image_result
from linnaeus.client.results import Classification
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.refusals import MAX_SENDS, backoff_seconds
from linnaeus.v1 import classifier_pb2 as messages

DEFAULT_STREAM_CONCURRENCY = 64

# A stream ends with these when the server stops or the connection is lost.
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
# If a stream ends while it is sending, gRPC's asyncio API reports INTERNAL with this text, not the server's status.
_MASKED_STATUS = "Internal error from Core"


def stream_request(request: messages.ClassifyRequest, correlation_id: int) -> messages.StreamClassifyRequest:
    """Returns the request as a message of a stream; its timeout is set when it is sent."""
    return messages.StreamClassifyRequest(
        correlation_id=correlation_id,
        image=request.image,
        model=request.model,
        version=request.version,
        top_k=request.top_k,
        priority=request.priority,
        min_probability=request.min_probability,
        want_features=request.want_features,
    )


def read_stream_response(
    config: ClientConfig, response: messages.StreamClassifyResponse, timeout_seconds: float
) -> Classification | LinnaeusError:
    """Returns the answer for one image of a stream, or the error instead of it."""
    if response.result.WhichOneof("outcome") != "classification":
        return config.image_error(response.result.error, timeout_seconds)
    try:
        return read_image_result(response.result, response.model, response.version)
    except LinnaeusError as error:
        return error


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """What the end of a stream means for the images without an answer.

    Attributes:
        resend_after_seconds: the wait before they are sent over another stream; None if they are not.
        error: their error if they are not.
    """

    resend_after_seconds: float | None
    error: LinnaeusError


class StreamRetries:
    """Decides whether images without an answer are sent over another stream, and after what wait.

    Belongs to the thread or task that receives the answers.

    Invariants:
        - a stream is followed by another one only if it was lost, or refused as a whole by a server that says when to
          come back;
        - at most `MAX_SENDS` streams in a row have no answer: a server that is gone is reported within a second.

    Args:
        config: the client's.
        timeout_seconds: the timeout of each image.
    """

    def __init__(self, config: ClientConfig, timeout_seconds: float) -> None:
        self._config = config
        self._timeout_seconds = timeout_seconds
        self._was_answered = False
        self._silent_streams = 0

    def record_answer(self) -> None:
        """Notes that the server answered an image."""
        self._was_answered = True
        self._config.retry_budget.record_answer()

    def stream_end(self, failure: grpc.RpcError | None) -> StreamEnd:
        """Returns what the end of a stream means.

        Args:
            failure: the stream's error; None if the server closed the stream with status OK.
        """
        self._silent_streams = 0 if self._was_answered else self._silent_streams + 1
        self._was_answered = False
        if failure is None:
            return StreamEnd(None, ServerFailure("the server ended the stream before it had answered every picture"))
        error = self._config.rpc_error(failure, self._timeout_seconds)
        delay_seconds = self._delay_seconds(failure, error)
        if delay_seconds is None:
            self._silent_streams = 0  # images that come later have all their attempts
        return StreamEnd(delay_seconds, error)

    def _delay_seconds(self, failure: grpc.RpcError, error: LinnaeusError) -> float | None:
        if isinstance(error, Overloaded):
            deadline = Deadline.after(self._timeout_seconds)
            wait_seconds = error.resend_after_seconds
            return self._config.retry_budget.delay_seconds(wait_seconds, sends=self._silent_streams, deadline=deadline)
        if not _is_lost(failure, error) or self._silent_streams >= MAX_SENDS:
            return None
        pushback_seconds = read_pushback(failure.trailing_metadata())
        if pushback_seconds is None:
            return backoff_seconds(self._silent_streams)
        return pushback_seconds if pushback_seconds >= 0 else None


def _is_lost(failure: grpc.RpcError, error: LinnaeusError) -> bool:
    """Returns whether the connection was lost, or the server stops: another server may answer the rest.

    An INTERNAL of the server's own has details. One without is gRPC's, or that of a proxy that has lost its server.
    """
    return failure.code() in _LOST or (failure.code() is grpc.StatusCode.INTERNAL and not error.details)


def is_masked(failure: grpc.RpcError) -> bool:
    """Returns whether gRPC's asyncio API hides the status with which the server ended a stream."""
    return failure.code() is grpc.StatusCode.INTERNAL and (failure.details() or "").startswith(_MASKED_STATUS)
