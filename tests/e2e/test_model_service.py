"""Models are loaded, reloaded and unloaded over gRPC while other calls continue without errors."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.e2e.callers import wait_for_metric
from tests.e2e.forked_server import ForkedServer
from tests.repositories import add_version

from linnaeus.client import AsyncClient, Client, ModelNotFound, ModelRefused, ModelState
from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.registry import find
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ModelServiceStub

RELOADS = 10
CALLERS = 8


@pytest.fixture(scope="module")
def root(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("controlled")
    add_version(repository / "lenet" / "1", root, "m", 1, "one ")
    add_version(repository / "lenet" / "1", root, "m", 2, "two ")
    return root


@pytest.fixture(scope="module")
def controlled(root: Path) -> Iterator[ServerProcess]:
    """A server that checks its repository ten times a second."""
    with ForkedServer("--repository", str(root), "--watch-seconds", "0.1", "--max-batch-size", "4") as server:
        yield server


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "7.png").read_bytes()


def indexed(server: ServerProcess, model: str) -> dict[str, tuple[str, str]]:
    """Returns state and reason of a model's versions from the KServe repository index."""
    with grpc.insecure_channel(server.target) as channel:
        stub = GRPCInferenceServiceStub(channel)
        listed = stub.RepositoryIndex(kserve.RepositoryIndexRequest(), timeout=30).models
    return {each.version: (each.state, each.reason) for each in listed if each.name == model}


@pytest.mark.slow
async def test_reloads_and_label_changes_fail_no_call_and_mix_no_versions(
    controlled: ServerProcess, root: Path, digit: bytes
) -> None:
    words = {1: "one", 2: "two"}
    seen: set[int] = set()
    ended = False

    def name(version: int) -> None:
        written = root / "m" / ".config.toml"
        written.write_text(f"[labels]\nmoving = {version}\n")
        written.rename(root / "m" / "config.toml")  # atomic: the server never reads a partial file

    name(1)
    async with AsyncClient(controlled.target) as client:
        while "moving" not in (await client.models())[0].version_labels:  # bounded by the test's timeout
            await asyncio.sleep(0)

        async def call_until_ended() -> int:
            count = 0
            while not ended:
                answer = await client.classify(digit, model="m", version="moving", top_k=10)
                assert {scored.label.split()[0] for scored in answer.classes} == {words[answer.version]}
                seen.add(answer.version)
                count += 1
            return count

        callers = [asyncio.create_task(call_until_ended()) for _ in range(CALLERS)]
        for number in range(RELOADS):
            name(number % 2 + 1)
            models = await client.reload_model("m")
            assert [model.state for model in models] == [ModelState.READY, ModelState.READY]
            assert models[number % 2].version_labels == ("moving",)
        ended = True
        counts = await asyncio.gather(*callers)
    assert min(counts) > 0 and seen == {1, 2}


def test_a_new_version_is_served_and_a_broken_one_is_refused_with_its_reason(
    controlled: ServerProcess, root: Path, repository: Path, digit: bytes
) -> None:
    source = repository / "lenet" / "1"
    with Client(controlled.target) as client:
        add_version(source, root, "fresh", 1, "old ")
        wait_for_metric(controlled, 'linnaeus_model_ready{model="fresh",version="1"}', lambda value: value == 1)
        add_version(source, root, "fresh", 2, spoilt="raises")
        failures = 'linnaeus_model_load_failures_total{model="fresh"}'
        wait_for_metric(controlled, failures, lambda value: value == 1)
        old, new = (model for model in client.models() if model.name == "fresh")
        assert (old.state, old.is_default, new.state) == (ModelState.READY, True, ModelState.FAILED)
        assert "this model does not like company" in new.state_reason
        assert any("model fresh/2 is refused" in str(entry["message"]) for entry in controlled.logs)
        assert indexed(controlled, "fresh") == {"1": ("READY", ""), "2": ("UNAVAILABLE", new.state_reason)}
        assert client.classify(digit, model="fresh").top.label == "old 7"
        with pytest.raises(ModelRefused, match="this model does not like company") as refusal:
            client.load_model("fresh")
        assert refusal.value.details[0]["violations"][0]["subject"] == "fresh/2"
        with pytest.raises(ModelNotFound, match="no model 'nowhere'"):
            client.reload_model("nowhere")


def test_the_default_version_can_change_and_an_unloaded_version_is_not_served(
    controlled: ServerProcess, digit: bytes
) -> None:
    with Client(controlled.target) as client:
        assert client.set_default_version("m", 1).version == 1
        assert client.classify(digit, model="m").top.label == "one 7"
        assert client.set_default_version("m").version == 2
        assert client.classify(digit, model="m").top.label == "two 7"
        assert [model.state for model in client.unload_model("m", 2)] == [ModelState.READY, ModelState.UNLOADED]
        assert client.classify(digit, model="m").top.label == "one 7"
        with pytest.raises(ModelNotFound, match="m/2 is not loaded"):
            client.classify(digit, model="m", version=2)
        assert [model.state for model in client.load_model("m")] == [ModelState.READY, ModelState.READY]


def test_the_models_command_reports_the_result(controlled: ServerProcess) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from linnaeus.client.cli import main; main()", "models", *arguments]
        return subprocess.run(
            [*command, "--server", controlled.target], capture_output=True, encoding="utf-8", timeout=100
        )

    reloaded = run("reload", "m", "--json")
    assert [model["state"] for model in json.loads(reloaded.stdout)] == ["ready", "ready"]
    assert json.loads(run("default", "m", "1", "--json").stdout)[0]["is_default"] is True
    assert run("default", "m").returncode == 0
    assert "unloaded" in run("unload", "m", "--version", "1").stdout
    assert run("load", "m").returncode == 0
    refused = run("load", "../m")
    assert (refused.returncode, refused.stdout) == (1, "") and "no model '../m'" in refused.stderr


def test_a_refused_load_names_model_and_reason_in_its_details(
    controlled: ServerProcess, root: Path, repository: Path
) -> None:
    add_version(repository / "lenet" / "1", root, "wrong", 1, spoilt="wrong labels")
    with grpc.insecure_channel(controlled.target) as channel:
        with pytest.raises(grpc.RpcError) as refusal:
            ModelServiceStub(channel).LoadModel(v1.LoadModelRequest(model="wrong"), timeout=60)
        assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        failure = error_details_pb2.PreconditionFailure()
        status = rpc_status.from_call(refusal.value)
        assert status is not None and status.details[0].Unpack(failure)
        (violation,) = failure.violations
        assert (violation.type, violation.subject) == ("MODEL", "wrong/1") and "labels.txt" in violation.description
        with pytest.raises(grpc.RpcError) as missing:
            ModelServiceStub(channel).LoadModel(v1.LoadModelRequest(), timeout=60)
        assert missing.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A version that recorded the bundled digits as calibration pictures."""
    lenet = find("lenet")
    folder = tmp_path_factory.mktemp("recorded")
    return export_torchscript(lenet, lenet.bundled_weights(), folder, 1, calibration=pictures / "digits")


@pytest.mark.parametrize("requested", ["bfloat16", "auto"])
def test_the_configured_precision_is_used_and_reported(
    controlled: ServerProcess, root: Path, recorded: Path, pictures: Path, requested: str
) -> None:
    name = f"precise-{requested}"
    (root / name).mkdir()
    (root / name / "config.toml").write_text(f'precision = "{requested}"\n')
    add_version(recorded, root, name, 1)
    digits = [path.read_bytes() for path in sorted((pictures / "digits").glob("*.png"))]
    with Client(controlled.target) as client, grpc.insecure_channel(controlled.target) as channel:
        client.load_model(name)
        (specialisation,) = client.model(name).specialisations
        assert (specialisation.device, specialisation.memory_format) == ("cpu", "channels_last")
        assert (
            specialisation.precision == "bfloat16"
            if requested == "bfloat16"
            else specialisation.precision in ("float32", "bfloat16", "float16")
        )
        assert requested in specialisation.precision_reason and "recorded pictures" in specialisation.precision_reason
        assert specialisation.runtime in ("torchscript", "openvino") and specialisation.runtime_reason.startswith(
            "auto: "
        )
        labels = f'device="cpu",model="{name}",runtime="{specialisation.runtime}",version="1"'
        wait_for_metric(controlled, f"linnaeus_model_runtime{{{labels}}}", lambda value: value == 1)
        labels = f'device="cpu",model="{name}",precision="{specialisation.precision}",version="1"'
        wait_for_metric(controlled, f"linnaeus_model_precision{{{labels}}}", lambda value: value == 1)
        request = kserve.ModelConfigRequest(name=name)
        config = GRPCInferenceServiceStub(channel).ModelConfig(request, timeout=30).config
        assert config.parameters["precision"].string_value == f"{specialisation.precision} on cpu"
        for digit in digits:
            float32 = {
                each.label.split()[-1]: each.probability for each in client.classify(digit, model="m", top_k=10).classes
            }
            reduced = client.classify(digit, model=name, top_k=10).classes
            assert max(abs(each.probability - float32[each.label]) for each in reduced) < 0.02
