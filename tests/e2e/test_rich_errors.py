"""Errors as they come over the wire, read as any gRPC client may: code, sentence, and the status in the trailer.

These are the rows of the table that no other test asks a real server for. Pictures, top_k above the classes, unknown
models and versions, and messages above the limit stand in test_refusals.py, a full queue in test_own_settings.py, and
deadlines in test_promises.py.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from tests.e2e.callers import wait_for_metric
from tests.e2e.fragile import asking, request, write_model

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

Detail = TypeVar("Detail", bound=Message)

CLASSIFY = "/linnaeus.v1.ClassifierService/Classify"
# How long the run lasts that keeps a stopping server alive until it has been asked once more.
BUSY_SECONDS = 1.0
MODELS = {
    "broken": {"config": "maximum_batch_size = 1\n"},
    "busy": {"config": "max_batch_size = 1\n", "asked_seconds": BUSY_SECONDS / 255},
    "fragile": {"config": "max_batch_size = 1\n", "fragile": True},
    "late": {"config": "max_batch_size = 1\n"},
}
WRONG = {
    "version that can be none": request("fragile", version="1.0"),
    "version below zero": request("fragile", version="-1"),
    "top_k below zero": request("fragile", top_k=-1),
    "model refused at load": request("broken"),
}


@dataclass(frozen=True, slots=True)
class Record:
    """How one server's calls ended, from its loading to its stopping, and its log."""

    loading: grpc.RpcError
    loaded: v1.ClassifyResponse
    wrong: dict[str, grpc.RpcError]
    failed: grpc.RpcError
    stopping: grpc.RpcError
    exit_code: int
    logs: list[dict[str, Any]]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    models = tmp_path_factory.mktemp("errors")
    for name, options in MODELS.items():
        write_model(models, name, **options)
    with _held_up(models / "late" / "1" / "labels.txt") as go_on:
        server = ServerProcess("--repository", str(models), "--streams", "1", "--drain-seconds", "100")
        try:
            server.wait_for("listening")
            wait_for_metric(server, "linnaeus_model_ready", lambda count: count == 2)
            yield _ask(server, go_on)
        finally:
            server.kill()


@contextmanager
def _held_up(path: Path) -> Iterator[Callable[[], object]]:
    """Whoever reads the file waits until what is yielded is called."""
    content = path.read_text(encoding="utf-8")
    path.unlink()
    os.mkfifo(path)
    yield lambda: path.write_text(content, encoding="utf-8")


def _ask(server: ServerProcess, go_on: Callable[[], object]) -> Record:
    with grpc.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        loading = _error(stub, request("late"))
        wrong = {case: _error(stub, wrong) for case, wrong in WRONG.items()}
        failed = _error(stub, request("fragile", asking(255)))
        go_on()
        server.wait_for("serving")
        loaded = stub.Classify(request("late"), timeout=30)
        stopping = _error_while_stopping(server, channel)
        exit_code = server.child.wait(60)
        server.kill()  # its log is read to the end
    return Record(loading, loaded, wrong, failed, stopping, exit_code, server.logs)


def _error(stub: ClassifierServiceStub, asked: v1.ClassifyRequest) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Classify(asked, timeout=30)
    return raised.value


def _error_while_stopping(server: ServerProcess, channel: grpc.Channel) -> grpc.RpcError:
    """What a call gets that came before SIGTERM, and its message only after.

    The server has the call once it runs the next one of the same connection; it takes nothing more once it has closed
    its port; and it does not end before that next one's answer.
    """
    stopped = threading.Event()

    def message() -> Iterator[v1.ClassifyRequest]:
        stopped.wait(60)
        yield request("late")

    slow = channel.stream_unary(CLASSIFY, v1.ClassifyRequest.SerializeToString, v1.ClassifyResponse.FromString).future(
        message(), timeout=60
    )
    busy = ClassifierServiceStub(channel).Classify.future(request("busy", asking(255)), timeout=60)
    try:
        wait_for_metric(server, "linnaeus_in_flight", lambda count: count == 1)
        server.child.send_signal(signal.SIGTERM)
        _wait_until_closed(server.port)
    finally:
        stopped.set()
    error = slow.exception(60)
    busy.result(60)
    assert isinstance(error, grpc.RpcError)
    return error


def _wait_until_closed(port: int) -> None:
    """The test's own time limit ends it."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 10).close()
        except ConnectionError:  # refused, or reset where the port was closed amid it
            return


def _detail(error: grpc.RpcError, kind: type[Detail]) -> Detail:
    """The one detail of an error, from the trailer that gRPC sets aside for it; code and sentence stand there, too."""
    (trailer,) = (value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin")
    status = status_pb2.Status.FromString(trailer)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    (packed,) = status.details
    assert packed.type_url == f"type.googleapis.com/{kind.DESCRIPTOR.full_name}"
    return kind.FromString(packed.value)


def _retry_seconds(error: grpc.RpcError) -> float:
    return _detail(error, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds()


def test_a_model_that_is_loading_is_unavailable_says_when_to_come_again_and_is_served_then(record: Record) -> None:
    assert record.loading.code() is grpc.StatusCode.UNAVAILABLE
    assert record.loading.details() == "model late/1 is loading; try again soon"
    assert 0 < _retry_seconds(record.loading) <= 10
    assert record.loaded.model == "late"


def test_a_server_that_is_stopping_is_unavailable_and_says_when_to_come_again(record: Record) -> None:
    assert record.stopping.code() is grpc.StatusCode.UNAVAILABLE
    assert record.stopping.details() == "the server is stopping; try another one"
    assert 0 < _retry_seconds(record.stopping) <= 10
    assert record.exit_code == 0


@pytest.mark.parametrize(
    ("case", "field", "sentence"),
    [
        ("version that can be none", "version", "version is '1.0', but must be a number, a label or empty"),
        ("version below zero", "version", "version is '-1', but must be a number, a label or empty"),
        ("top_k below zero", "top_k", "top_k is -1, but model fragile has 10 classes; 0 means the default"),
    ],
)
def test_a_field_at_fault_is_invalid_argument_and_named(record: Record, case: str, field: str, sentence: str) -> None:
    error = record.wrong[case]
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, sentence)
    (violation,) = _detail(error, error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == (field, sentence)


def test_a_model_that_was_refused_is_not_found_and_says_why(record: Record) -> None:
    error = record.wrong["model refused at load"]
    assert error.code() is grpc.StatusCode.NOT_FOUND
    info = _detail(error, error_details_pb2.ResourceInfo)
    assert (info.resource_type, info.resource_name) == ("linnaeus.v1.Model", "broken/1")
    assert info.description == error.details() and "maximum_batch_size" in error.details()


def test_a_fault_of_ours_is_internal_with_a_reference_to_the_log_and_no_more(record: Record) -> None:
    error = record.failed
    assert error.code() is grpc.StatusCode.INTERNAL
    info = _detail(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, set(info.metadata)) == ("INTERNAL", "linnaeus", {"reference"})
    reference = info.metadata["reference"]
    assert reference and reference in error.details()
    (entry,) = (entry for entry in record.logs if reference in str(entry["message"]))
    assert "does not like that picture" in str(entry), "the log has what went wrong"
    told = error.details() + str(error.trailing_metadata())
    assert not any(word in told for word in ("does not like", "Traceback", "RuntimeError", ".py"))


def test_nobody_is_pushed_back_whom_waiting_does_not_help(record: Record) -> None:
    errors = [*record.wrong.values(), record.failed]
    assert not [error for error in errors if "grpc-retry-pushback-ms" in dict(error.trailing_metadata())]
