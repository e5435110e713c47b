"""Fixtures for the client's tests: a stub server without a model, and ways to run the command."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as PackedMessage
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status
from tests.client.load_results import interrupted, make_histogram, make_measurement, make_run

from linnaeus.client.cli import main
from linnaeus.client.transport import retry_policy
from linnaeus.v1 import classifier_pb2 as messages
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceServicer, add_ClassifierServiceServicer_to_server

__all__ = ["interrupted", "make_histogram", "make_run", "make_measurement"]

# Long enough for any machine; reached only if a test fails.
PATIENCE_SECONDS = 60

Behaviour = Callable[[Any, grpc.ServicerContext], Any]


class StubService(ClassifierServiceServicer):
    """Answers with `on_classify`, `on_list` and so on, which tests replace; records the requests.

    In a batch or a stream, an image whose content is in `errors` gets that error, `error_count` times in all.
    """

    def __init__(self) -> None:
        self.target = ""
        self.requests: list[Any] = []
        self.seconds_remaining: list[float] = []
        self.on_classify: Behaviour = lambda request, context: answer(request)
        self.on_batch: Behaviour = lambda request, context: self._batch(request)
        self.on_stream: Behaviour = lambda requests, context: map(self.stream_answer, requests)
        self.errors: dict[bytes, messages.ImageError] = {}
        self.error_count = 1_000_000
        self.on_list: Behaviour = lambda request, context: messages.ListModelsResponse(models=[model()])
        self.on_get: Behaviour = lambda request, context: messages.GetModelResponse(
            model=model(name=request.model, version=int(request.version or 1)), labels=["cat", "dog", "newt"]
        )
        self._lock = threading.Lock()

    def Classify(self, request, context):
        return self._answer(self.on_classify, request, context)

    def ClassifyBatch(self, request, context):
        return self._answer(self.on_batch, request, context)

    def StreamClassify(self, request_iterator, context):
        return self.on_stream(map(self._record, request_iterator), context)

    def _record(self, request: messages.StreamClassifyRequest) -> messages.StreamClassifyRequest:
        with self._lock:
            self.requests.append(request)
        return request

    def stream_answer(self, request: messages.StreamClassifyRequest) -> messages.StreamClassifyResponse:
        return messages.StreamClassifyResponse(
            correlation_id=request.correlation_id,
            result=self.result(request.image, request),
            model=request.model or "lenet",
            version=int(request.version or 3),
        )

    def _batch(self, request: messages.ClassifyBatchRequest) -> messages.ClassifyBatchResponse:
        results = [self.result(image, request) for image in request.images]
        return messages.ClassifyBatchResponse(
            results=results, model=request.model or "lenet", version=int(request.version or 3)
        )

    def result(self, image: messages.Image, request: Any) -> messages.ImageResult:
        """Returns the result for one image of a batch or stream."""
        error = self.errors.get(image.encoded)
        if error is not None and self.error_count > 0:
            self.error_count -= 1
            return messages.ImageResult(image_id=image.id, error=error)
        alone = answer(messages.ClassifyRequest(image=image, top_k=request.top_k))
        classification = messages.Classification(
            classes=alone.classes, batch_size=alone.batch_size, timings=alone.timings
        )
        return messages.ImageResult(image_id=image.id, classification=classification)

    def ListModels(self, request, context):
        return self._answer(self.on_list, request, context)

    def GetModel(self, request, context):
        return self._answer(self.on_get, request, context)

    @property
    def images(self) -> list[messages.Image]:
        return [request.image for request in self.requests if isinstance(request, messages.ClassifyRequest)]

    def fail(self, code: grpc.StatusCode, message: str, *details: Any, final: bool = False) -> None:
        """Makes every call fail with this status; the details are google.rpc messages.

        `final` makes gRPC not retry: its backoff matters only to test_retry_policy.py.
        """

        def behaviour(request, context):
            ending = rpc_status.to_status(status(code, message, *details))
            metadata = ending.trailing_metadata if details else ()
            if final:
                metadata = (*metadata, ("grpc-retry-pushback-ms", "-1"))
            context.set_trailing_metadata(metadata)
            context.abort(code, message)

        self.on_classify = self.on_list = self.on_get = behaviour

    def _answer(self, behaviour: Behaviour, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self.requests.append(request)
            self.seconds_remaining.append(context.time_remaining())
        return behaviour(request, context)


def status(code: grpc.StatusCode, message: str, *details: Any) -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(PackedMessage())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code_pb2.Code.Value(code.name), message=message, details=packed)


def answer(request: messages.ClassifyRequest) -> messages.ClassifyResponse:
    classes = [
        messages.ScoredClass(index=281, label="tabby, tabby cat", probability=0.75),
        messages.ScoredClass(index=282, label="tiger cat", probability=0.125),
        messages.ScoredClass(index=285, label="Egyptian cat", probability=0.0625),
    ]
    return messages.ClassifyResponse(
        classes=classes[: request.top_k or None],
        model=request.model or "lenet",
        version=int(request.version or 3),
        batch_size=4,
        timings=messages.Timings(decode_seconds=0.25, queue_seconds=0.5, inference_seconds=1.0),
        image_id=request.image.id,
    )


def model(**fields: Any) -> messages.Model:
    known = dict(
        name="lenet",
        version=3,
        state=messages.MODEL_STATE_READY,
        architecture="lenet5",
        input=messages.InputDescription(channels=1, height=28, width=28, resize=28, interpolation="bilinear"),
        class_count=3,
        weights=messages.WeightsDescription(source="mnist", trained=True),
        parameter_count=61_706,
        sha256="ab" * 32,
        devices=["cuda:0"],
        max_batch_size=64,
    )
    return messages.Model(**(known | fields))


@pytest.fixture
def make_model() -> Callable[..., messages.Model]:
    return model


@pytest.fixture
def make_answer() -> Callable[[messages.ClassifyRequest], messages.ClassifyResponse]:
    return answer


@pytest.fixture
def make_status() -> Callable[..., status_pb2.Status]:
    return status


@pytest.fixture
def patience_seconds() -> float:
    return PATIENCE_SECONDS


@pytest.fixture
def stub() -> Iterator[StubService]:
    with served() as service:
        yield service


@pytest.fixture(scope="module")
def shared_stub() -> Iterator[StubService]:
    """For property tests, whose examples set everything that they rely on."""
    with served() as service:
        yield service


@contextmanager
def served() -> Iterator[StubService]:
    service = StubService()
    options = [("grpc.max_receive_message_length", 8 * 1024 * 1024), ("grpc.so_reuseport", 0)]
    with ThreadPoolExecutor(max_workers=32) as threads:
        server = grpc.server(threads, options=options)
        add_ClassifierServiceServicer_to_server(service, server)
        service.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield service
        server.stop(grace=None).wait()


@pytest.fixture
def short_backoff(monkeypatch) -> None:
    """Makes gRPC wait for a tenth of the time before each retry, for tests of what a call ends in."""
    monkeypatch.setitem(retry_policy.RETRY_POLICY, "initialBackoff", "0.01s")
    monkeypatch.setitem(retry_policy.RETRY_POLICY, "maxBackoff", "0.1s")


@pytest.fixture
def silent_target() -> Iterator[str]:
    """An address without a server, which no other process can use meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"


@dataclass(frozen=True)
class Ending:
    """The exit code and the output of a run of the command."""

    exit_code: int
    output: str
    errors: str


@pytest.fixture
def run_command(stub, capsys, monkeypatch) -> Callable[..., Ending]:
    """Runs linnaeus-client in this process against the stub server."""
    monkeypatch.setenv("LINNAEUS_SERVER", stub.target)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Ending:
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ending(_exit_code(ending.value), captured.out, captured.err + _exit_line(ending.value))

    return run


def _exit_code(ending: SystemExit) -> int:
    return ending.code if isinstance(ending.code, int) else int(ending.code is not None)


def _exit_line(ending: SystemExit) -> str:
    """Returns the text of the SystemExit, which Python would print at its end."""
    return f"{ending.code}\n" if isinstance(ending.code, str) else ""


@pytest.fixture
def start_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts another Python with the same packages; the end of the test kills it."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LINNAEUS_")}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=inherited | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def pictures(tmp_path) -> Callable[..., list[str]]:
    """Creates files that the stub server accepts as images; each holds its own name."""

    def make(*names: str) -> list[str]:
        for name in names:
            (tmp_path / name).write_bytes(os.fsencode(name))
        return [str(tmp_path / name) for name in names]

    return make
