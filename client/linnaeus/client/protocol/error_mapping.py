"""Maps the gRPC status of a failed call to an exception of this package; no other file reads a status.

The server's message is kept as it is. If the server sent none, because it was not reached, was too slow, or the
transport rejected the message, the message is written here and names the address.
"""

import re

import grpc

from linnaeus.client.errors import (
    DeadlineExceeded,
    InvalidImage,
    InvalidRequest,
    LinnaeusError,
    ModelNotFound,
    ModelRefused,
    Overloaded,
    PermissionDenied,
    ServerFailure,
    Unauthenticated,
    Unavailable,
)
from linnaeus.client.protocol.error_details import Detail, read_details, read_pushback, unpack_details
from linnaeus.v1 import classifier_pb2 as messages

_CODES = {code.value[0]: code for code in grpc.StatusCode}
# From gRPC's C core, sometimes within a longer text: "SERVER: Received message larger than max (9 vs. 8)".
_MESSAGE_TOO_LARGE = "message larger than max"
_RESPONSE_TOO_LARGE = (f"CLIENT: Received {_MESSAGE_TOO_LARGE}", f"SERVER: Sent {_MESSAGE_TOO_LARGE}")
_NEVER_CONNECTED = ("failed to connect", "errors resolving", "DNS resolution failed")
# Only some releases of gRPC add the error number.
_ERROR_NUMBER = re.compile(r" \(\d+\)$")


def error_from_rpc(failure: grpc.RpcError, *, target: str, timeout_seconds: float) -> LinnaeusError:
    """Returns the exception for a failed call.

    Args:
        failure: from the blocking or the asyncio API; both have a code, a text and trailing metadata.
        target: the server's address, for the message.
        timeout_seconds: the call's timeout, for the message.
    """
    trailer = failure.trailing_metadata()
    error = _error(failure.code(), failure.details() or "", read_details(trailer), target, timeout_seconds)
    if isinstance(error, Overloaded):
        error.pushback_seconds = read_pushback(trailer)
    return error


def error_from_image(error: messages.ImageError, *, target: str, timeout_seconds: float) -> LinnaeusError:
    """Returns the exception for one image of a batch or stream: the same as if it had been sent alone."""
    code = _CODES.get(error.code, grpc.StatusCode.UNKNOWN)
    return _error(code, error.message, unpack_details(error.details), target, timeout_seconds)


def deadline_error(*, target: str, timeout_seconds: float) -> DeadlineExceeded:
    """Returns the exception for an image whose answer did not come in time."""
    return DeadlineExceeded(_deadline_text(target, timeout_seconds))


def _error(
    code: grpc.StatusCode, text: str, details: tuple[Detail, ...], target: str, timeout_seconds: float
) -> LinnaeusError:
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return _invalid_argument(text, details)
    if code is grpc.StatusCode.NOT_FOUND:
        return ModelNotFound(text, details=details)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return ModelRefused(text, details=details)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated(text or f"the server at {target} asks for a token: pass token=", details=details)
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return PermissionDenied(text or f"the server at {target} does not allow this call", details=details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _resource_exhausted(text, details, target)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(text if details else _deadline_text(target, timeout_seconds), details=details)
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(text if details else _unreachable_text(text, target), details=details)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ServerFailure(_unimplemented_text(text, target), details=details)
    return ServerFailure(text or f"the server at {target} failed with {code.name} and no reason", details=details)


def _invalid_argument(text: str, details: tuple[Detail, ...]) -> LinnaeusError:
    fields = [violation["field"] for detail in details for violation in detail.get("field_violations", ())]
    error_type = InvalidImage if any(field.startswith("image") for field in fields) else InvalidRequest
    return error_type(text, details=details)


def _resource_exhausted(text: str, details: tuple[Detail, ...], target: str) -> LinnaeusError:
    """Distinguishes a full queue from an oversized message: both have this code, but gRPC itself adds no details."""
    if details or _MESSAGE_TOO_LARGE not in text:
        return Overloaded(text, details=details)
    if any(words in text for words in _RESPONSE_TOO_LARGE):
        return ServerFailure(f"the answer is too large ({text}): raise max_message_bytes")
    return InvalidImage(
        f"the server at {target} takes no message this large ({text}): send a smaller picture, "
        "or the JPEG or PNG file instead of its pixels"
    )


def _deadline_text(target: str, timeout_seconds: float) -> str:
    return f"no answer from {target} within {timeout_seconds:g} s: allow more time, or see whether the server is busy"


def _unreachable_text(text: str, target: str) -> str:
    """Extracts the cause: the transport's text ends with it, such as "Connection refused (111)"."""
    cause = text.rpartition(": ")[2].rstrip("]") if text.startswith(_NEVER_CONNECTED) else text
    cause = _ERROR_NUMBER.sub("", cause)
    return f"no server answers at {target} ({cause}): check the address, and that linnaeus-server runs there"


def _unimplemented_text(text: str, target: str) -> str:
    return f"the server at {target} does not serve this call ({text}): is it a Linnaeus server of this release?"
