"""NVIDIA's tritonclient against a real server; it runs as a program of its own, see `triton_calls.py`."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.programs import TRITON_CLIENT_PYTHON

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.rpc.child_server import ServerProcess

PROGRAM = Path(__file__).with_name("triton_calls.py")

pytestmark = pytest.mark.needs(program="tritonclient")


def run(*arguments: str) -> Any:
    done = subprocess.run(
        [str(TRITON_CLIENT_PYTHON), str(PROGRAM), *arguments], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def came(server: ServerProcess, pictures: Path) -> dict[str, Any]:
    return dict(run(server.target, str(pictures)))


@pytest.fixture
def labels(pictures: Path) -> list[str]:
    return [path.stem for path in sorted((pictures / "digits").glob("*.png"))]


def test_every_name_and_number_is_the_protocols() -> None:
    theirs = run("--numbers")

    def check(message: Any) -> None:
        ours = {each.name: [each.number, each.type, each.is_repeated] for each in message.fields}
        assert ours.items() <= theirs[message.full_name].items(), message.full_name
        for nested in message.nested_types:
            check(nested)
        for enumeration in message.enum_types:
            assert {each.name: each.number for each in enumeration.values} == theirs[enumeration.full_name]

    for message in kserve.DESCRIPTOR.message_types_by_name.values():
        check(message)
    for enumeration in kserve.DESCRIPTOR.enum_types_by_name.values():
        assert {each.name: each.number for each in enumeration.values} == theirs[enumeration.full_name]


def test_the_server_and_its_models_tell_of_themselves(came: dict[str, Any]) -> None:
    told = came["told"]
    assert told["live"] and told["ready"] and told["model_ready"] == [True, True, False]
    assert told["metadata"]["name"] == "linnaeus" and "statistics" in told["metadata"]["extensions"]
    assert told["index"] == [["efficientnet_lite0", "1", "READY"], ["lenet", "1", "READY"]]


def test_an_answer_has_the_native_probabilities_and_the_requests_id(
    came: dict[str, Any], pictures: Path, classify: Any
) -> None:
    native = classify((pictures / "coffee.jpg").read_bytes(), top_k=1000)
    probabilities = {each.index: each.probability for each in native.classes}
    # In the last digits only may they differ: another run may share the cores in another way.
    assert came["coffee"] == pytest.approx([probabilities[index] for index in range(1000)], abs=1e-6, rel=1e-4)
    assert came["id"] == "mine"


def test_asynchronous_calls_are_answered_each_with_its_own(came: dict[str, Any], labels: list[str]) -> None:
    assert came["aio"] == labels


def test_a_stream_is_answered_in_order_and_survives_what_is_no_picture(came: dict[str, Any], labels: list[str]) -> None:
    *before, failed, first_after, second_after, third_after = came["streamed"]
    answered = [*before, first_after, second_after, third_after]
    assert [label for _, label in answered] == labels
    assert [place for place, _ in answered] == ["0", "1", "2", "4", "5", "6"]
    assert failed[0] == "" and "10 bytes" in failed[1]


def test_an_image_client_finds_what_it_needs_in_metadata_and_configuration(
    came: dict[str, Any], labels: list[str]
) -> None:
    assert came["prepared_digits"] == labels
    assert came["prepared_coffee"] == ["espresso"]


def test_a_model_that_is_served_is_loaded_by_asking(came: dict[str, Any]) -> None:
    (status, _), is_ready = came["loaded"]
    assert status == "OK" and is_ready


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("floats", "INVALID_ARGUMENT", "input pixels is FP32, but must be UINT8: send the pixels as they are"),
        ("nobody", "NOT_FOUND", "there is no model 'nobody'"),
        ("damaged", "INVALID_ARGUMENT", "image 1 of 2"),
        ("hurried", "DEADLINE_EXCEEDED", "deadline"),
        ("load", "NOT_FOUND", "the repository has no model '../lenet'"),
        ("shared_memory", "UNIMPLEMENTED", ""),
    ],
)
def test_a_refusal_has_its_code_and_a_sentence(came: dict[str, Any], what: str, code: str, said: str) -> None:
    status, message = came["refused"][what]
    assert status == f"StatusCode.{code}" and said in message


def test_statistics_count_each_picture_and_add_up(came: dict[str, Any], labels: list[str]) -> None:
    before, after = came["counted"]
    grown = {name: after[name] - before[name] for name in after}
    stages = ("queue", "compute_input", "compute_infer", "compute_output")
    assert grown["images"] == grown["by_size"] == len(labels) and 1 <= grown["batches"] <= len(labels)
    assert {grown[f"{stage}_count"] for stage in (*stages, "success")} == {len(labels)}
    assert all(grown[stage] > 0 for stage in stages)
    # What is missing is the hand-over between threads.
    assert 0 < sum(grown[stage] for stage in stages) <= grown["success"]
