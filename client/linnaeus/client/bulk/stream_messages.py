"""The messages of StreamClassify, and what the end of a stream means for the images without an answer.

Shared by the streams of the blocking and the asyncio client.
"""

from dataclasses import dataclass

import grpc

from linnaeus.client.config import ClientConfig
from linnaeus.client.errors import LinnaeusError, ServerFailure
from linnaeus.client.protocol.responses import read_image_result
from linnaeus.client.results import Classification
from linnaeus.v1 import classifier_pb2 as messages

DEFAULT_STREAM_CONCURRENCY = 64

# A stream ends with these when the server stops or the connection is lost; another server may answer the rest.
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
# If a stream ends while it is sending, gRPC's asyncio API reports INTERNAL with this text, not the server's status.
_MASKED_STATUS = "Internal error from Core"


def stream_request(
    request: messages.ClassifyRequest, correlation_id: int, timeout_seconds: float
) -> messages.StreamClassifyRequest:
    """Returns the request as a message of a stream."""
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
        resend: whether they are sent over another stream.
        error: their error if they are not.
    """

    resend: bool
    error: LinnaeusError


def stream_end(
    config: ClientConfig, failure: grpc.RpcError | None, *, was_answered: bool, timeout_seconds: float
) -> StreamEnd:
    """Decides whether images without an answer are sent over another stream.

    Only a lost stream that had answered before is followed by another one. gRPC itself retries a stream that ends
    before its first answer, with the backoff of any call; a second round of retries would only delay the report that a
    server is gone.

    Args:
        config: the client's.
        failure: the stream's error; None if the server closed the stream with status OK.
        was_answered: whether the stream had any answer.
        timeout_seconds: the timeout of each image, for the message.
    """
    if failure is None:
        return StreamEnd(False, ServerFailure("the server ended the stream before it had answered every picture"))
    is_lost = failure.code() in _LOST or _is_masked(failure)
    return StreamEnd(was_answered and is_lost, config.rpc_error(failure, timeout_seconds))


def _is_masked(failure: grpc.RpcError) -> bool:
    return failure.code() is grpc.StatusCode.INTERNAL and (failure.details() or "").startswith(_MASKED_STATUS)
