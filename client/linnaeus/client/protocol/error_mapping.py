"""From a failed call to the error of this package: the only file that reads a gRPC status.

The server's sentence stands as it is. Where the server never spoke, because it was not reached, was too slow, or the
transport refused the message, the sentence is made here and names the address.
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
from linnaeus.client.protocol.error_details import Detail, read_details, unpack_details
from linnaeus.v1 import classifier_pb2 as messages

_CODES = {code.value[0]: code for code in grpc.StatusCode}
# Of the C core, sometimes inside other words: "SERVER: Received message larger than max (9 vs. 8)".
_MESSAGE_TOO_LARGE = "message larger than max"
_ANSWER_TOO_LARGE = (f"CLIENT: Received {_MESSAGE_TOO_LARGE}", f"SERVER: Sent {_MESSAGE_TOO_LARGE}")
_NEVER_CONNECTED = ("failed to connect", "errors resolving", "DNS resolution failed")
# Releases of gRPC differ in whether they name it.
_ERROR_NUMBER = re.compile(r" \(\d+\)$")


def error_from(failure: grpc.RpcError, *, target: str, timeout_seconds: float) -> LinnaeusError:
    """Makes the error a caller sees.

    Args:
        failure: of the blocking or of the asyncio client; both carry a code, a text and a trailer.
        target: the server's address, for the sentence.
        timeout_seconds: what the call was given, for the sentence.
    """
    details = read_details(failure.trailing_metadata())
    return _error(failure.code(), failure.details() or "", details, target, timeout_seconds)


def error_from_image(error: messages.ImageError, *, target: str, timeout_seconds: float) -> LinnaeusError:
    """Makes the error of one picture among many: the one that a call for it alone would have ended with."""
    code = _CODES.get(error.code, grpc.StatusCode.UNKNOWN)
    return _error(code, error.message, unpack_details(error.details), target, timeout_seconds)


def late_error(*, target: str, timeout_seconds: float) -> DeadlineExceeded:
    """Makes the error of a picture whose answer did not come in time."""
    return DeadlineExceeded(_late(target, timeout_seconds))


def _error(
    code: grpc.StatusCode, text: str, details: tuple[Detail, ...], target: str, timeout_seconds: float
) -> LinnaeusError:
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return _invalid(text, details)
    if code is grpc.StatusCode.NOT_FOUND:
        return ModelNotFound(text, details=details)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return ModelRefused(text, details=details)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated(text or f"the server at {target} asks for a token: pass token=", details=details)
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return PermissionDenied(text or f"the server at {target} does not allow this call", details=details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _exhausted(text, details, target)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(text if details else _late(target, timeout_seconds), details=details)
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(text if details else _unreachable(text, target), details=details)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ServerFailure(_unserved(text, target), details=details)
    return ServerFailure(text or f"the server at {target} failed with {code.name} and no reason", details=details)


def _invalid(text: str, details: tuple[Detail, ...]) -> LinnaeusError:
    violations = (violation for detail in details for violation in detail.get("field_violations", ()))
    at_fault = InvalidImage if any(one["field"].startswith("image") for one in violations) else InvalidRequest
    return at_fault(text, details=details)


def _exhausted(text: str, details: tuple[Detail, ...], target: str) -> LinnaeusError:
    """Tells a full queue from a message that will never pass: the same code, but gRPC itself adds no details."""
    if details or _MESSAGE_TOO_LARGE not in text:
        return Overloaded(text, details=details)
    if any(words in text for words in _ANSWER_TOO_LARGE):
        return ServerFailure(f"the answer is too large ({text}): raise max_message_bytes")
    return InvalidImage(
        f"the server at {target} takes no message this large ({text}): send a smaller picture, "
        "or the JPEG or PNG file instead of its pixels"
    )


def _late(target: str, timeout_seconds: float) -> str:
    return f"no answer from {target} within {timeout_seconds:g} s: allow more time, or see whether the server is busy"


def _unreachable(text: str, target: str) -> str:
    """The transport's text ends with the cause, such as "Connection refused (111)"; the rest repeats the address."""
    cause = text.rpartition(": ")[2].rstrip("]") if text.startswith(_NEVER_CONNECTED) else text
    cause = _ERROR_NUMBER.sub("", cause)
    return f"no server answers at {target} ({cause}): check the address, and that linnaeus-server runs there"


def _unserved(text: str, target: str) -> str:
    return f"the server at {target} does not serve this call ({text}): is it a Linnaeus server of this release?"
