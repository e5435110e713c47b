"""The life of a server: health, reflection, metrics, refused models, signals."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("service", ["", "linnaeus.v1.ClassifierService", "inference.GRPCInferenceService"])
def test_health_is_serving_once_the_models_are_warm(channel: grpc.Channel, service: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    assert health_pb2_grpc.HealthStub(channel).Check(request, timeout=60).status == SERVING


def test_reflection_describes_the_contract(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    services = {"linnaeus.v1.ClassifierService", "inference.GRPCInferenceService", "grpc.health.v1.Health"}
    assert services <= set(database.get_services())
    service = DescriptorPool(database).FindServiceByName("linnaeus.v1.ClassifierService")
    assert service.methods_by_name["Classify"].input_type.full_name == "linnaeus.v1.ClassifyRequest"


def test_models_are_listed_with_their_input_size_and_limits(stub: ClassifierServiceStub) -> None:
    answer = stub.ListModels(v1.ListModelsRequest(), timeout=60)
    lenet = {model.name: model for model in answer.models}["lenet"]
    assert (lenet.version, lenet.state, lenet.class_count) == (1, v1.MODEL_STATE_READY, 10)
    assert (lenet.input.channels, lenet.input.height, lenet.input.width) == (1, 28, 28)
    assert (lenet.parameter_count, lenet.weights.trained, lenet.devices[:]) == (431_080, True, ["cpu"])
    assert (answer.limits.max_message_bytes, answer.limits.max_image_pixels) == (32 * 1024 * 1024, 50_000_000)
    described = stub.GetModel(v1.GetModelRequest(model="efficientnet_lite0"), timeout=60)
    assert len(described.labels) == 1000 and described.labels[967] == "espresso"


def test_metrics_count_calls_stages_and_batches(
    stub: ClassifierServiceStub, metric: Callable[..., float], pictures: Path
) -> None:
    stages = ("decode", "queue", "inference", "respond")

    def counts() -> list[float]:
        return [
            metric("grpc_server_started_total", grpc_method="Classify", grpc_type="UNARY"),
            metric("grpc_server_handled_total", grpc_method="Classify", grpc_code="OK"),
            metric("grpc_server_handling_seconds_count", grpc_method="Classify"),
            metric("linnaeus_request_seconds_count", model="lenet", version="1"),
            metric("linnaeus_batch_size_sum", model="lenet", version="1"),
            *(metric("linnaeus_stage_seconds_count", model="lenet", stage=stage) for stage in stages),
        ]

    before = counts()
    picture = (pictures / "digits" / "0.png").read_bytes()
    for _ in range(3):
        stub.Classify(v1.ClassifyRequest(image=v1.Image(encoded=picture), model="lenet"), timeout=30)
    assert counts() == [count + 3 for count in before]
    for gauge in ("linnaeus_in_flight", "linnaeus_queue_depth"):
        assert metric(gauge) == 0
    assert metric("linnaeus_model_ready") == 2
    assert metric("linnaeus_build_info") == 1


def test_broken_models_are_refused_with_file_and_field_and_the_others_are_served(
    repository: Path, tmp_path: Path, pictures: Path
) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    for name in ("corrupt", "short", "digest"):
        shutil.copytree(repository / "lenet", tmp_path / name)
        path = tmp_path / name / "1" / "manifest.json"
        path.write_text(path.read_text().replace('"name": "lenet"', f'"name": "{name}"'))
    model_file = tmp_path / "corrupt" / "1" / "model.pt"
    model_file.write_bytes(model_file.read_bytes()[:-5000])
    labels = tmp_path / "short" / "1" / "labels.txt"
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[:-1]))
    manifest = tmp_path / "digest" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"sha256": "', '"sha256": "0'))
    with ServerProcess("--repository", str(tmp_path), "--max-batch-size", "1") as server:
        with grpc.insecure_channel(server.target) as channel:
            stub = ClassifierServiceStub(channel)
            models = {model.name: model for model in stub.ListModels(v1.ListModelsRequest(), timeout=60).models}
            picture = v1.Image(encoded=(pictures / "digits" / "4.png").read_bytes())
            answer = stub.Classify(v1.ClassifyRequest(image=picture, model="lenet"), timeout=30)
            with pytest.raises(grpc.RpcError) as refusal:
                stub.Classify(v1.ClassifyRequest(image=picture, model="short"), timeout=30)
        log = " ".join(str(entry["message"]) for entry in server.logs)
    assert answer.classes[0].label == "4"
    assert "manifest.json: sha256" in models["corrupt"].state_reason and "model.pt" in models["corrupt"].state_reason
    assert models["short"].state_reason == "labels.txt has 9 lines, but manifest.json says classes is 10"
    assert "manifest.json: sha256" in models["digest"].state_reason
    assert all(models[name].state == v1.MODEL_STATE_FAILED for name in ("corrupt", "short", "digest"))
    assert all(models[name].state_reason in log for name in ("corrupt", "short", "digest"))
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    assert "labels.txt has 9 lines" in refusal.value.details()


def test_sigterm_reports_not_serving_answers_calls_in_flight_and_exits_0(repository: Path, pictures: Path) -> None:
    picture = v1.Image(encoded=(pictures / "digits" / "4.png").read_bytes())
    # The batch never fills and the delay is long: only closing the queue lets these calls finish.
    options = ["--models", "lenet", "--max-batch-size", "32", "--max-queue-delay-seconds", "60"]
    with (
        ServerProcess("--repository", str(repository), *options) as server,
        grpc.insecure_channel(server.target) as channel,
        ThreadPoolExecutor(1) as operator,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == SERVING
        stub = ClassifierServiceStub(channel)
        calls = [stub.Classify.future(v1.ClassifyRequest(image=picture, model="lenet")) for _ in range(8)]
        _wait_until_in_flight(server, 8)
        exit_code = operator.submit(server.stop)
        assert next(watch).status == NOT_SERVING
        assert [call.result(timeout=60).classes[0].label for call in calls] == ["4"] * 8
        assert exit_code.result(timeout=60) == 0


def _wait_until_in_flight(server: ServerProcess, count: int) -> None:
    import urllib.request

    while True:  # bounded by the test's timeout
        with urllib.request.urlopen(server.metrics_url, timeout=60) as answer:
            if f"linnaeus_in_flight {count}.0" in answer.read().decode():
                return


def test_a_signal_while_loading_gives_exit_code_0(repository: Path) -> None:
    server = ServerProcess("--repository", str(repository))
    server.wait_for("loading")
    assert server.stop() == 0


@pytest.mark.parametrize("flag", ["--port", "--metrics-port"])
def test_a_port_in_use_gives_one_error_line_and_exit_code_1(repository: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"--port": "0", "--metrics-port": "0", flag: port}
        done = _run("--repository", str(repository), *(word for pair in ports.items() for word in pair))
    assert done.returncode == 1
    assert port in done.stderr and "Traceback" not in done.stderr


def test_a_missing_repository_gives_one_error_line_and_exit_code_1(tmp_path: Path) -> None:
    done = _run("--repository", str(tmp_path / "nowhere"), "--port", "0", "--metrics-port", "0", "--log-level", "error")
    assert done.returncode == 1
    assert done.stderr.startswith("linnaeus-server: the model repository") and done.stderr.count("\n") == 1


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "linnaeus.server", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)
