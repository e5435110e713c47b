"""Reads google.rpc messages from trailing metadata into plain dicts, so that callers need no protobuf."""

from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.any_pb2 import Any as PackedMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

# The metadata key of a google.rpc.Status: https://grpc.io/docs/guides/error/#richer-error-model
DETAILS_KEY = "grpc-status-details-bin"

# The metadata key of a server's wait before a retry; negative for no retry.
PUSHBACK_KEY = "grpc-retry-pushback-ms"

Detail = dict[str, Any]


def read_details(trailer: Iterable[Any] | None) -> tuple[Detail, ...]:
    """Reads the details that a server added to an error.

    Args:
        trailer: the trailing metadata: pairs of a key and a string or bytes.

    Returns:
        One dict per message, in the server's order, each with its "type". A message of an unknown type has only that
        key. Empty if there are no details or they cannot be parsed: the error itself matters more.
    """
    packed = next((value for key, value in trailer or () if key == DETAILS_KEY), None)
    if not isinstance(packed, bytes):
        return ()
    try:
        return unpack_details(status_pb2.Status.FromString(packed).details)
    except DecodeError:
        return ()


def read_pushback(trailer: Iterable[Any] | None) -> float | None:
    """Reads the server's wait before a retry.

    Returns:
        The wait in seconds; negative if there must be no retry, which a malformed wait means, too. None if there is
        none.
    """
    pushback = next((value for key, value in trailer or () if key == PUSHBACK_KEY), None)
    if pushback is None:
        return None
    try:
        return int(pushback) / 1000
    except ValueError:
        return -1.0


def unpack_details(packed: Iterable[PackedMessage]) -> tuple[Detail, ...]:
    """Reads packed google.rpc messages; empty if they cannot be parsed."""
    try:
        return tuple(_unpack(detail) for detail in packed)
    except DecodeError:
        return ()


def _unpack(packed: PackedMessage) -> Detail:
    name = packed.type_url.rpartition("/")[2].rpartition(".")[2]
    reader = _READERS.get(name)
    return {"type": name} | (reader(packed.value) if reader else {})


def _bad_request(packed: bytes) -> Detail:
    violations = error_details_pb2.BadRequest.FromString(packed).field_violations
    return {"field_violations": [{"field": each.field, "description": each.description} for each in violations]}


def _retry_info(packed: bytes) -> Detail:
    delay = error_details_pb2.RetryInfo.FromString(packed).retry_delay
    return {"retry_delay_seconds": delay.seconds + delay.nanos / 1e9}


def _precondition_failure(packed: bytes) -> Detail:
    violations = error_details_pb2.PreconditionFailure.FromString(packed).violations
    return {
        "violations": [
            {"type": each.type, "subject": each.subject, "description": each.description} for each in violations
        ]
    }


def _resource_info(packed: bytes) -> Detail:
    info = error_details_pb2.ResourceInfo.FromString(packed)
    return {
        "resource_type": info.resource_type,
        "resource_name": info.resource_name,
        "owner": info.owner,
        "description": info.description,
    }


def _error_info(packed: bytes) -> Detail:
    info = error_details_pb2.ErrorInfo.FromString(packed)
    return {"reason": info.reason, "domain": info.domain, "metadata": dict(info.metadata)}


_READERS: dict[str, Callable[[bytes], Detail]] = {
    "BadRequest": _bad_request,
    "RetryInfo": _retry_info,
    "ResourceInfo": _resource_info,
    "PreconditionFailure": _precondition_failure,
    "ErrorInfo": _error_info,
}
