"""Errors as RFC 9457 problem documents, with what gRPC would tell: code, sentence and details."""

import logging
import math
import uuid
from http import HTTPStatus
from typing import Any

from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2
from starlette.responses import JSONResponse, Response

from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.rpc.status import to_rpc_status

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# As google.rpc.Code has them.
STATUSES = {
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
}
_TITLES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    499: "Client Closed Request",
}


def problem(error: RequestError) -> Response:
    """Returns the response to a request that failed."""
    status = to_rpc_status(error)
    http_status = STATUSES.get(status.code, 500)
    headers = _headers(http_status, status)
    details = [json_format.MessageToDict(each, preserving_proto_field_name=True) for each in status.details]
    return _response(http_status, status.message, code_pb2.Code.Name(status.code), details, headers)


class HttpRefusal(Exception):
    """A request that HTTP itself refuses, with a status that no error of gRPC has.

    Args:
        status: of HTTP.
        sentence: what is wrong, and what to do.
        code: the name of gRPC's code that says the same.
        headers: further headers.
    """

    def __init__(self, status: int, sentence: str, code: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.headers = headers or {}

    def response(self) -> Response:
        """Returns the response."""
        return _response(self.status, str(self), self.code, [], self.headers)


def internal_failure(what: str, error: BaseException) -> InternalFailure:
    """Logs an unexpected exception, and returns an error that gives the caller only the log reference."""
    reference = uuid.uuid4().hex[:12]
    logger.error("%s failed [%s]", what, reference, exc_info=error)
    return InternalFailure(f"the server failed; its log has the cause under {reference}", reference)


def _response(status: int, sentence: str, code: str, details: list[Any], headers: dict[str, str]) -> Response:
    document = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": sentence,
        "code": code,
        "details": details,
        "error": sentence,  # where clients of KServe's protocol look for it
    }
    return JSONResponse(document, status, headers, MEDIA_TYPE)


def _headers(http_status: int, status: status_pb2.Status) -> dict[str, str]:
    headers = {"www-authenticate": "Bearer"} if http_status == 401 else {}
    for detail in status.details:
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            seconds = retry.retry_delay.ToNanoseconds() / 1e9
            headers["retry-after"] = str(max(math.ceil(seconds), 1))  # whole seconds, never too early
    return headers
