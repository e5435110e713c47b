"""Errors over HTTP tell what gRPC tells, with the status that google.rpc gives each code."""

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.rpc import code_pb2

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
from linnaeus.server.http.problems import STATUSES, HttpRefusal, internal_failure, problem
from linnaeus.server.rpc.status import to_rpc_status

# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, "HTTP Mapping"
STATUS_OF_ERROR: list[tuple[RequestError, int]] = [
    (InvalidArgument("image", "no picture"), 400),
    (ModelNotFound("a/1", "no such model"), 404),
    (Unauthenticated("no token"), 401),
    (PermissionDenied("no right", "admin"), 403),
    (Overloaded("the queue is full", 2.25), 429),
    (DeadlineExceeded("too late", 0.5, 1.5), 504),
    (Unavailable("the models are loading", 1.0), 503),
    (NotLoaded("refused", {"a/1": "no labels"}), 400),
    (InternalFailure("the server failed", "abc"), 500),
]


def document(response: Any) -> Any:
    assert response.headers["content-type"] == "application/problem+json"
    return json.loads(response.body)


@pytest.mark.parametrize("error, status", STATUS_OF_ERROR, ids=lambda value: type(value).__name__)
def test_a_problem_has_code_sentence_and_details_of_the_same_error_by_grpc(error: RequestError, status: int) -> None:
    by_grpc, response = to_rpc_status(error), problem(error)
    told = document(response)
    assert response.status_code == told["status"] == status
    assert told["code"] == code_pb2.Code.Name(by_grpc.code) and told["detail"] == by_grpc.message
    assert told["details"] == [
        json_format.MessageToDict(detail, preserving_proto_field_name=True) for detail in by_grpc.details
    ]
    assert told["title"] and told["type"] == "about:blank"


def test_every_kind_of_error_has_its_case_here() -> None:
    kinds = {type(error) for error, _ in STATUS_OF_ERROR}
    assert kinds == {each for each in RequestError.__subclasses__() if each.__module__.startswith("linnaeus")}
    assert {to_rpc_status(error).code for error, _ in STATUS_OF_ERROR} <= set(STATUSES)


def test_a_retry_is_never_too_early() -> None:
    for seconds, header in ((0.001, "1"), (1.0, "1"), (1.2, "2"), (2.25, "3"), (30.0, "30")):
        assert problem(Overloaded("full", seconds)).headers["retry-after"] == header
    assert "retry-after" not in problem(InvalidArgument("a", "b")).headers


def test_who_lacks_a_token_is_told_how_to_send_one() -> None:
    assert problem(Unauthenticated("no token")).headers["www-authenticate"] == "Bearer"


def test_what_only_http_refuses_has_the_same_form() -> None:
    told = document(HttpRefusal(413, "too large; send less", "RESOURCE_EXHAUSTED").response())
    assert told["title"] == "Content Too Large" and told["detail"] == "too large; send less" and told["details"] == []


def test_an_unexpected_failure_tells_the_caller_only_where_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    told = document(problem(internal_failure("a call", ValueError("the secret"))))
    reference = told["details"][0]["metadata"]["reference"]
    assert "secret" not in json.dumps(told) and reference in told["detail"]
    assert "secret" in caplog.text and reference in caplog.text
