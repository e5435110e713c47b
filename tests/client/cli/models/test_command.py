"""`linnaeus-client models`: the table, the notes below it, and JSON."""

import json

import grpc
import pytest
from rich.console import Console

from linnaeus.v1 import classifier_pb2 as messages


@pytest.fixture
def several_models(stub, make_model):
    models = [
        messages.Model(
            name="alexnet", version=1, state=messages.MODEL_STATE_FAILED, state_reason="manifest.json: no field input."
        ),
        make_model(
            name="efficientnet_lite0",
            version=2,
            architecture="EfficientNet-Lite",
            input=messages.InputDescription(channels=3, height=224, width=240),
            class_count=1000,
            weights=messages.WeightsDescription(source="random", trained=False),
            parameter_count=4_652_008,
        ),
        make_model(),
    ]
    stub.on_list = lambda request, context: messages.ListModelsResponse(models=models)


def test_the_table_shows_every_model_version(run_command, several_models):
    ending = run_command("models")
    heading, _, failed, untrained, trained, reason = ending.output.splitlines()
    assert heading.split("  ")[0].strip() == "name"
    for column in ("version", "state", "architecture", "input CxHxW", "classes", "weights", "parameters", "max batch"):
        assert column in heading
    assert failed.split() == ["alexnet", "1", "failed"]
    assert untrained.split() == [
        *["efficientnet_lite0", "2", "ready", "EfficientNet-Lite", "3x224x240"],
        *["1,000", "untrained", "4.7", "M", "64"],
    ]
    assert trained.split() == ["lenet", "3", "ready", "lenet5", "1x28x28", "3", "mnist", "61,706", "64"]
    assert reason == "alexnet v1 failed: manifest.json: no field input."
    assert (ending.exit_code, ending.errors) == (0, "")


def test_a_narrow_terminal_moves_the_widest_columns_below(run_command, several_models, monkeypatch):
    narrow = Console(width=80, markup=False, emoji=False, highlight=False)
    monkeypatch.setattr("linnaeus.client.cli.output._console", lambda: narrow)
    lines = run_command("models").output.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert lines[3].split() == ["efficientnet_lite0", "2", "ready", "3x224x240", "1,000", "4.7", "M", "64"]
    assert lines[-3:] == [
        "alexnet v1 failed: manifest.json: no field input.",
        "efficientnet_lite0 v2: EfficientNet-Lite, untrained",
        "lenet v3: lenet5, mnist",
    ]


def test_json_is_one_array(run_command, several_models):
    ending = run_command("models", "--json")
    failed, untrained, trained = json.loads(ending.output)
    assert (failed["name"], failed["state"], failed["input"], failed["weights"]) == ("alexnet", "failed", None, None)
    assert failed["state_reason"] == "manifest.json: no field input."
    assert untrained["weights"] == {"source": "random", "trained": False}
    assert trained == {
        "name": "lenet",
        "version": 3,
        "state": "ready",
        "state_reason": "",
        "architecture": "lenet5",
        "input": {"channels": 1, "height": 28, "width": 28, "resize": 28, "interpolation": "bilinear"},
        "weights": {"source": "mnist", "trained": True},
        "class_count": 3,
        "parameter_count": 61_706,
        "feature_count": 0,
        "sha256": "ab" * 32,
        "devices": ["cuda:0"],
        "max_batch_size": 64,
        "version_labels": [],
        "is_default": False,
        "specialisations": [],
    }
    assert ending.exit_code == 0


def test_a_precision_other_than_float32_is_shown(run_command, stub, make_model):
    chosen = messages.Specialisation(
        device="cpu", precision="bfloat16", precision_reason="auto: faster", memory_format="channels_last"
    )
    plain = messages.Specialisation(device="cuda:0", precision="float32")
    models = [make_model(specialisations=[chosen, plain]), make_model(name="plain", specialisations=[plain])]
    stub.on_list = lambda request, context: messages.ListModelsResponse(models=models)
    assert run_command("models").output.splitlines()[4:] == ["lenet v3 computes in bfloat16 on cpu"]
    assert json.loads(run_command("models", "--json").output)[0]["specialisations"] == [
        {
            "device": "cpu",
            "precision": "bfloat16",
            "precision_reason": "auto: faster",
            "memory_format": "channels_last",
            "runtime": "",
            "runtime_reason": "",
        },
        {
            "device": "cuda:0",
            "precision": "float32",
            "precision_reason": "",
            "memory_format": "",
            "runtime": "",
            "runtime_reason": "",
        },
    ]


def test_the_runtime_and_why_it_was_chosen_are_shown(run_command, stub, make_model):
    made = messages.Specialisation(device="cpu", precision="float32", runtime="openvino", runtime_reason="auto: faster")
    stub.on_list = lambda request, context: messages.ListModelsResponse(models=[make_model(specialisations=[made])])
    assert run_command("models").output.splitlines()[-1:] == ["lenet v3 is computed by openvino on cpu: auto: faster"]


@pytest.mark.parametrize(("form", "output"), [([], "The server has no models.\n"), (["--json"], "[]\n")])
def test_a_server_without_models_is_no_failure(run_command, stub, form, output):
    stub.on_list = lambda request, context: messages.ListModelsResponse()
    assert run_command("models", *form).output == output


def test_a_failure_is_one_line(run_command, stub):
    stub.fail(grpc.StatusCode.INTERNAL, "Reference 7f.")
    ending = run_command("models")
    assert (ending.exit_code, ending.output, ending.errors) == (1, "", "linnaeus-client: Reference 7f.\n")


def test_an_unreachable_server_is_one_line(run_command, silent_target):
    ending = run_command("models", "--server", silent_target)
    assert ending.exit_code == 1
    assert ending.errors.startswith(f"linnaeus-client: no server answers at {silent_target} (Connection refused)")
    assert ending.errors.count("\n") == 1
