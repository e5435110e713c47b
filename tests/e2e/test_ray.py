"""On Ray Serve, behind its proxy, calls fare as on one machine; a lost, changed or further replica fails none.

The tests share one Ray, in the order of this file: each leaves it with the replicas that the next one expects.
"""

import copy
import os
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy
import pytest
import yaml
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from tests.e2e import synthetic_models
from tests.pages import shell_commands
from tests.repositories import add_version

from benchmarks.common.ports import free_port
from benchmarks.common.ray_serve import RayServe
from linnaeus.client import Client
from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from linnaeus.server.rpc.kserve.servicer import NAME as INFERENCE
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub, ModelServiceStub

pytestmark = [pytest.mark.needs(program="ray"), pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
CALLERS = 8
PAUSE_SECONDS = 0.02  # between the calls of a caller: enough load to lose calls, and cores left for replicas to start
SLOW_SECONDS = 0.1
# How often replicas tell their load, in seconds; Ray's default is 10.
TELLS = {"RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5"}


@pytest.fixture(scope="module")
def models(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with lenet, and a model that takes a tenth of a second for an image."""
    root = tmp_path_factory.mktemp("ray-models")
    add_version(repository / "lenet" / "1", root, "lenet", 1)
    synthetic_models.write_model(root, "slow", SLOW_SECONDS, config="max_batch_size = 1\n")
    return root


@pytest.fixture(scope="module")
def metrics_port() -> int:
    """The first port that a replica tries for its metrics."""
    return free_port()


@pytest.fixture(scope="module")
def config(models: Path, metrics_port: int) -> dict[str, Any]:
    """The file that users begin with, with two replicas on whatever cores there are."""
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "ray" / "serve.yaml").read_text(encoding="utf-8"))
    application = read["applications"][0]
    application["args"] = {"repository": str(models), "watch_seconds": 0.1, "metrics_port": metrics_port, "streams": 1}
    deployment = application["deployments"][0]
    deployment["ray_actor_options"] = {"num_cpus": 0.1}
    deployment["num_replicas"] = 2
    del deployment["autoscaling_config"]
    return read


@pytest.fixture(scope="module")
def ray(config: dict[str, Any]) -> Iterator[RayServe]:
    with RayServe(config, TELLS) as started:
        started.wait_until(lambda: len(started.replicas()) == 2)
        yield started


@pytest.fixture
def channel(ray: RayServe) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(ray.target) as opened:
        yield opened


def digit() -> v1.Image:
    return v1.Image(pixels=v1.RawPixels(data=bytes(28 * 28), height=28, width=28, channels=1))


def ready_replicas(first_port: int) -> list[str]:
    """Returns the metrics of each ready replica, at the ports where Prometheus would look."""
    texts = []
    for port in range(first_port, first_port + 6):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10).close()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                texts.append(answer.read().decode())
        except OSError:
            continue
    return texts


def total(texts: list[str], series: str) -> float:
    """Returns the sum of the samples of a series, or of all that begin so."""
    lines = (line for text in texts for line in text.splitlines() if line.startswith(series))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


class Callers:
    """Callers of the client library, each with one call after the other, until they are stopped or one fails."""

    def __init__(self, target: str, model: str = "lenet", side: int = 28) -> None:
        self.answers = 0
        self.versions: set[int] = set()
        self._stopped = threading.Event()
        self._client = Client(target, timeout_seconds=120)
        self._image = numpy.zeros((side, side, 1), dtype=numpy.uint8)
        self._model = model
        self._pool = ThreadPoolExecutor(CALLERS)
        self._running = [self._pool.submit(self._call_on) for _ in range(CALLERS)]

    @property
    def has_failed(self) -> bool:
        return any(each.done() for each in self._running)

    def wait_for_more(self, ray: RayServe) -> None:
        """Waits until each has had further answers, or one has failed."""
        answers = self.answers
        ray.wait_until(lambda: self.has_failed or self.answers > answers + 10 * CALLERS)

    def stop(self) -> None:
        """Ends the calls; raises what one of them raised."""
        self._stopped.set()
        for each in self._running:
            each.result(180)
        self._pool.shutdown()
        self._client.close()

    def _call_on(self) -> None:
        while not self._stopped.wait(PAUSE_SECONDS):
            answer = self._client.classify(self._image, model=self._model)
            self.versions.add(answer.version)
            self.answers += 1


@pytest.fixture
def callers(ray: RayServe) -> Iterator[Callers]:
    """Callers of whom none has failed at the end."""
    started = Callers(ray.target)
    started.wait_for_more(ray)
    yield started
    started.stop()


def detail_of(error: Any, detail: Any) -> Any:
    status: Any = rpc_status.from_call(error)
    assert status is not None and any(each.Unpack(detail) for each in status.details), error
    return detail


def page_commands(begins: str) -> set[str]:
    return {each for page, each in shell_commands() if page.name == "ray.md" and each.startswith(begins)}


def test_the_pages_commands_are_those_that_these_tests_run() -> None:
    file = "docker/ray/serve.yaml"
    assert page_commands("serve ") == {f"serve run {file}", f"serve deploy {file}", "serve status"}


def test_the_pages_call_is_answered_through_rays_proxy(ray: RayServe) -> None:
    (command,) = page_commands(".venv/")
    command = command.replace("localhost:9000", ray.target)
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done


def test_every_service_answers_with_single_calls_batches_and_streams(channel: grpc.Channel) -> None:
    stub = ClassifierServiceStub(channel)
    assert stub.Classify(v1.ClassifyRequest(image=digit(), model="lenet"), timeout=60).model == "lenet"
    batch = stub.ClassifyBatch(v1.ClassifyBatchRequest(images=[digit()] * 3, model="lenet"), timeout=60)
    assert [each.HasField("classification") for each in batch.results] == [True] * 3
    asked = [v1.StreamClassifyRequest(correlation_id=each, image=digit(), model="lenet") for each in range(20)]
    assert sorted(each.correlation_id for each in stub.StreamClassify(iter(asked), timeout=60)) == list(range(20))
    inference = GRPCInferenceServiceStub(channel)
    assert inference.ServerReady(kserve.ServerReadyRequest(), timeout=60).ready
    assert inference.ModelMetadata(kserve.ModelMetadataRequest(name="lenet"), timeout=60).name == "lenet"
    assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=INFERENCE)).status == 1
    listed = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(listed, timeout=60)
    assert INFERENCE in {each.name for each in answer.list_services_response.service}


def test_errors_arrive_with_code_and_details(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as unknown:
        ClassifierServiceStub(channel).Classify(v1.ClassifyRequest(image=digit(), model="nix"), timeout=60)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert detail_of(unknown.value, error_details_pb2.ResourceInfo()).resource_name == "nix"
    with pytest.raises(grpc.RpcError) as damaged:
        request = v1.ClassifyRequest(image=v1.Image(encoded=b"no picture"), model="lenet")
        ClassifierServiceStub(channel).Classify(request, timeout=60)
    assert damaged.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail_of(damaged.value, error_details_pb2.BadRequest()).field_violations[0].field == "image.encoded"
    with pytest.raises(grpc.RpcError) as not_loaded:
        ModelServiceStub(channel).LoadModel(v1.LoadModelRequest(model="nix"), timeout=60)
    assert not_loaded.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_replica_knows_the_deadline_and_refuses_at_once_what_would_be_late(channel: grpc.Channel) -> None:
    request = synthetic_models.request("slow")
    with pytest.raises(grpc.RpcError) as late:
        ClassifierServiceStub(channel).Classify(request, timeout=SLOW_SECONDS / 2)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert detail_of(late.value, error_details_pb2.ErrorInfo()).reason == "DEADLINE_CANNOT_BE_MET"


def test_a_call_that_its_caller_cancels_is_cancelled_in_the_replica(
    ray: RayServe, channel: grpc.Channel, metrics_port: int
) -> None:
    # The lanes of both replicas are taken for seconds, so that the call waits in whichever it comes to.
    held = [ClassifierServiceStub(channel).Classify.future(synthetic_models.request("slow")) for _ in range(40)]
    ray.wait_until(lambda: total(ready_replicas(metrics_port), "linnaeus_in_flight ") > 10)
    for each in held:
        each.cancel()
    ray.wait_until(lambda: total(ready_replicas(metrics_port), "linnaeus_in_flight ") == 0)
    assert total(ready_replicas(metrics_port), "linnaeus_cancelled_total") > 10


def test_each_replica_has_its_metrics_at_a_port_of_its_own(ray: RayServe, callers: Callers, metrics_port: int) -> None:
    counter = 'grpc_server_handled_total{grpc_code="OK",grpc_method="Classify"'
    ray.wait_until(lambda: sum(total([each], counter) > 10 for each in ready_replicas(metrics_port)) == 2)


def test_a_replica_that_is_killed_under_load_fails_no_call_and_comes_back(ray: RayServe, metrics_port: int) -> None:
    callers = Callers(ray.target, "slow", synthetic_models.SIDE)
    in_flight = "linnaeus_in_flight "  # so that calls are lost, whichever of the two is killed
    ray.wait_until(lambda: [total([each], in_flight) > 1 for each in ready_replicas(metrics_port)] == [True, True])
    victim = min(ray.replicas())
    os.kill(victim, signal.SIGKILL)
    ray.wait_until(lambda: victim not in ray.replicas())
    callers.wait_for_more(ray)
    callers.stop()
    ray.wait_until(lambda: len(ready_replicas(metrics_port)) == 2)
    assert len(ray.replicas()) == 2


def test_a_new_version_in_the_repository_is_served_by_every_replica_without_a_failed_call(
    ray: RayServe, callers: Callers, models: Path, metrics_port: int
) -> None:
    add_version(models / "lenet" / "1", models, "lenet", 2)
    ready = 'linnaeus_model_ready{model="lenet",version="2"} 1.0'
    ray.wait_until(lambda: [ready in each for each in ready_replicas(metrics_port)] == [True, True])
    callers.wait_for_more(ray)
    assert callers.versions == {1, 2}


def changed(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a configuration with other arguments, and with one replica, or two while images wait."""
    new = copy.deepcopy(config)
    application = new["applications"][0]
    application["args"]["max_batch_size"] = 2
    (deployment,) = application["deployments"]
    del deployment["num_replicas"]
    deployment["autoscaling_config"] = {
        **{"min_replicas": 1, "max_replicas": 2, "initial_replicas": 1},
        **{"upscale_delay_s": 1, "downscale_delay_s": 1, "look_back_period_s": 2, "metrics_interval_s": 0.5},
        "policy": {"policy_function": "linnaeus.ray.autoscaling:QueueSecondsPolicy"},
    }
    return new


def test_a_changed_configuration_replaces_the_replicas_without_a_failed_call(
    ray: RayServe, callers: Callers, config: dict[str, Any], metrics_port: int
) -> None:
    old = ray.replicas()
    ray.deploy(changed(config))
    ray.wait_until(lambda: not old & ray.replicas() and len(ready_replicas(metrics_port)) == 1)
    assert ray.running_replicas() == 1
    callers.wait_for_more(ray)


def test_a_second_replica_comes_while_images_wait_and_goes_again(ray: RayServe, metrics_port: int) -> None:
    callers = Callers(ray.target, "slow", synthetic_models.SIDE)
    ray.wait_until(lambda: len(ready_replicas(metrics_port)) == 2)
    callers.stop()
    ray.wait_until(lambda: len(ray.replicas()) == 1)
