"""The mapping of `RequestError`s to canonical status codes and google.rpc details, bounded in size."""

import math
from typing import NamedTuple

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from linnaeus.server.errors import (
    DeadlineExceeded,
    InternalFailure,
    InvalidArgument,
    ModelNotFound,
    NotLoaded,
    Overloaded,
    PermissionDenied,
    RequestError,
    Unauthenticated,
    Unavailable,
)
from linnaeus.server.rpc.status_size import MAX_DETAIL_BYTES, MAX_MESSAGE_BYTES, bounded_detail, shortened

DOMAIN = "linnaeus"
# Trailing metadata key of the server's pushback, which takes precedence over a retry policy's backoff.
PUSHBACK_KEY = "grpc-retry-pushback-ms"


class Status(NamedTuple):
    """A status in the form of the arguments of gRPC's `abort`."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def to_status(error: RequestError, remaining_seconds: float | None = None) -> Status:
    """Returns the status of a failed call: code, message, and machine-readable details.

    Args:
        error: the error.
        remaining_seconds: the time until the call's deadline; None for no deadline.
    """
    status = rpc_status.to_status(to_rpc_status(error))  # both parts are bounded there
    return Status(status.code, status.details, (*status.trailing_metadata, *_pushback(error, remaining_seconds)))


def to_rpc_status(error: RequestError) -> status_pb2.Status:
    """Returns the status of a failed call, or of one image of a batch or stream, as a message."""
    message = shortened(str(error), MAX_MESSAGE_BYTES)
    code, detail = _code_and_detail(error, message)
    details = bounded_detail(detail, MAX_DETAIL_BYTES)
    return status_pb2.Status(code=code, message=message, details=details)


def _pushback(error: RequestError, remaining_seconds: float | None) -> tuple[tuple[str, str], ...]:
    """Returns the pushback in milliseconds for gRPC's own retries; negative for no retry.

    There is no retry if the deadline comes first: the client's gRPC library would wait until the deadline, and then
    report only DEADLINE_EXCEEDED instead of this error.
    """
    if not isinstance(error, Overloaded):
        return ()
    if remaining_seconds is not None and remaining_seconds <= error.retry_after_seconds:
        return ((PUSHBACK_KEY, "-1"),)
    return ((PUSHBACK_KEY, str(math.ceil(error.retry_after_seconds * 1000))),)


def _code_and_detail(error: RequestError, text: str) -> tuple[int, Message]:
    match error:
        case InvalidArgument():
            violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=text)
            return code_pb2.INVALID_ARGUMENT, error_details_pb2.BadRequest(field_violations=[violation])
        case ModelNotFound():
            return code_pb2.NOT_FOUND, error_details_pb2.ResourceInfo(
                resource_type="linnaeus.v1.Model", resource_name=error.resource, description=text
            )
        case Unauthenticated():
            return code_pb2.UNAUTHENTICATED, error_details_pb2.ErrorInfo(
                reason="TOKEN_NEEDED", domain=DOMAIN, metadata={"scheme": "Bearer"}
            )
        case PermissionDenied():
            return code_pb2.PERMISSION_DENIED, error_details_pb2.ErrorInfo(
                reason="RIGHT_MISSING", domain=DOMAIN, metadata={"right": error.right}
            )
        case Overloaded():
            return code_pb2.RESOURCE_EXHAUSTED, _retry_info(error.retry_after_seconds)
        case Unavailable():
            return code_pb2.UNAVAILABLE, _retry_info(error.retry_after_seconds)
        case DeadlineExceeded():
            estimate = {
                "late_by_seconds": f"{error.late_by_seconds:.6f}",
                "predicted_wait_seconds": f"{error.wait_seconds:.6f}",
            }
            return code_pb2.DEADLINE_EXCEEDED, error_details_pb2.ErrorInfo(
                reason="DEADLINE_CANNOT_BE_MET", domain=DOMAIN, metadata=estimate
            )
        case NotLoaded():
            violations = [
                error_details_pb2.PreconditionFailure.Violation(type="MODEL", subject=subject, description=reason)
                for subject, reason in error.refusals.items()
            ]
            return code_pb2.FAILED_PRECONDITION, error_details_pb2.PreconditionFailure(violations=violations)
        case InternalFailure():
            return code_pb2.INTERNAL, error_details_pb2.ErrorInfo(
                reason="INTERNAL", domain=DOMAIN, metadata={"reference": error.reference}
            )
        case _:
            return code_pb2.UNKNOWN, error_details_pb2.ErrorInfo(reason="UNKNOWN", domain=DOMAIN)


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    return error_details_pb2.RetryInfo(retry_delay=delay)
