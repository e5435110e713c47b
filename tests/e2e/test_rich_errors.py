"""Rich errors on the wire as any gRPC client sees them: code, message, and the status in the trailer.

Covers the rows of README's table that no other test checks on a real server. Invalid pictures, top_k, unknown models
and versions, and too large messages are in test_refusals.py, a full queue in test_model_settings.py, and deadlines in
test_overload.py.
"""

import os
import signal
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
from tests.e2e.forked_server import ForkedServer
from tests.e2e.synthetic_models import image_with_work, picture, request, write_model

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

Detail = TypeVar("Detail", bound=Message)

MODELS = {
    "broken": {"config": "maximum_batch_size = 1\n"},
    "fragile": {"config": "max_batch_size = 1\n", "fragile": True},
    "late": {"config": "max_batch_size = 1\n"},
}
WRONG_REQUESTS = {
    "version that can be none": request("fragile", version="1.0"),
    "version below zero": request("fragile", version="-1"),
    "top_k below zero": request("fragile", top_k=-1),
    "model refused at load": request("broken"),
}


@dataclass(frozen=True, slots=True)
class Record:
    """The errors of one server's calls, from loading to stopping, and its log."""

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
    with _blocked_read(models / "late" / "1" / "labels.txt") as unblock:
        server = ForkedServer("--repository", str(models), "--streams", "1", "--drain-seconds", "100", "--listen-early")
        try:
            server.wait_for("listening")
            wait_for_metric(server, "linnaeus_model_ready", lambda count: count == 1)
            yield _collect_errors(server, unblock)
        finally:
            server.kill()


@contextmanager
def _blocked_read(path: Path) -> Iterator[Callable[[], object]]:
    """Blocks readers of the file until the yielded function is called."""
    content = path.read_text(encoding="utf-8")
    path.unlink()
    os.mkfifo(path)
    yield lambda: path.write_text(content, encoding="utf-8")


def _collect_errors(server: ServerProcess, unblock: Callable[[], object]) -> Record:
    with grpc.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        loading = _error(stub, request("late"))
        wrong = {case: _error(stub, wrong) for case, wrong in WRONG_REQUESTS.items()}
        failed = _error(stub, request("fragile", image_with_work(255)))
        unblock()
        server.wait_for("serving")
        loaded = stub.Classify(request("late"), timeout=30)
        stopping = _error_while_stopping(server, channel)
        exit_code = server.child.wait(60)
        server.kill()  # reads its log to the end
    return Record(loading, loaded, wrong, failed, stopping, exit_code, server.logs)


def _error(stub: ClassifierServiceStub, message: v1.ClassifyRequest) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Classify(message, timeout=30)
    return raised.value


def _error_while_stopping(server: ServerProcess, channel: grpc.Channel) -> grpc.RpcError:
    """Returns the error of a stream that is open when the server stops."""
    ended = threading.Event()

    def images() -> Iterator[v1.StreamClassifyRequest]:
        yield v1.StreamClassifyRequest(image=picture(), model="late")
        ended.wait(60)

    stream = ClassifierServiceStub(channel).StreamClassify(images(), timeout=60)
    try:
        next(stream)
        server.child.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as raised:
            next(stream)
    finally:
        ended.set()
    return raised.value


def _detail(error: grpc.RpcError, kind: type[Detail]) -> Detail:
    """Returns the only detail of an error, from the trailer that gRPC defines; checks its code and message."""
    (trailer,) = (value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin")
    status = status_pb2.Status.FromString(trailer)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    (packed,) = status.details
    assert packed.type_url == f"type.googleapis.com/{kind.DESCRIPTOR.full_name}"
    return kind.FromString(packed.value)


def _retry_seconds(error: grpc.RpcError) -> float:
    return _detail(error, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds()


def test_a_loading_model_is_unavailable_with_a_retry_delay_and_served_once_loaded(record: Record) -> None:
    assert record.loading.code() is grpc.StatusCode.UNAVAILABLE
    assert record.loading.details() == "model late/1 is loading; try again soon"
    assert 0 < _retry_seconds(record.loading) <= 10
    assert record.loaded.model == "late"


def test_a_stopping_server_is_unavailable_with_a_retry_delay(record: Record) -> None:
    assert record.stopping.code() is grpc.StatusCode.UNAVAILABLE
    assert record.stopping.details() == "the server is stopping; open the stream at another one"
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
def test_an_invalid_field_is_invalid_argument_and_named(record: Record, case: str, field: str, sentence: str) -> None:
    error = record.wrong[case]
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, sentence)
    (violation,) = _detail(error, error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == (field, sentence)


def test_a_refused_model_is_not_found_with_its_reason(record: Record) -> None:
    error = record.wrong["model refused at load"]
    assert error.code() is grpc.StatusCode.NOT_FOUND
    info = _detail(error, error_details_pb2.ResourceInfo)
    assert (info.resource_type, info.resource_name) == ("linnaeus.v1.Model", "broken/1")
    assert info.description == error.details() and "maximum_batch_size" in error.details()


def test_an_internal_error_gives_only_a_reference_to_the_log(record: Record) -> None:
    error = record.failed
    assert error.code() is grpc.StatusCode.INTERNAL
    info = _detail(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, set(info.metadata)) == ("INTERNAL", "linnaeus", {"reference"})
    reference = info.metadata["reference"]
    assert reference and reference in error.details()
    (entry,) = (entry for entry in record.logs if reference in str(entry["message"]))
    assert "does not like that picture" in str(entry), "the log entry has the cause"
    client_sees = error.details() + str(error.trailing_metadata())
    assert not any(word in client_sees for word in ("does not like", "Traceback", "RuntimeError", ".py"))


def test_errors_that_a_retry_cannot_fix_have_no_retry_pushback(record: Record) -> None:
    errors = [*record.wrong.values(), record.failed]
    assert not [error for error in errors if "grpc-retry-pushback-ms" in dict(error.trailing_metadata())]
