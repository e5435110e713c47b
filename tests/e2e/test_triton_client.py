"""NVIDIA's tritonclient against a real server; it runs as a separate program, see `triton_calls.py`."""

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
def results(server: ServerProcess, pictures: Path) -> dict[str, Any]:
    return dict(run(server.target, str(pictures)))


@pytest.fixture
def labels(pictures: Path) -> list[str]:
    return [path.stem for path in sorted((pictures / "digits").glob("*.png"))]


def test_field_names_and_numbers_equal_those_of_tritonclient() -> None:
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


def test_server_and_model_metadata_are_returned(results: dict[str, Any]) -> None:
    server = results["server"]
    assert server["live"] and server["ready"] and server["model_ready"] == [True, True, False]
    assert server["metadata"]["name"] == "linnaeus" and "statistics" in server["metadata"]["extensions"]
    assert server["index"] == [["efficientnet_lite0", "1", "READY"], ["lenet", "1", "READY"]]


def test_an_answer_has_the_probabilities_of_the_native_protocol_and_the_request_id(
    results: dict[str, Any], pictures: Path, classify: Any
) -> None:
    native = classify((pictures / "coffee.jpg").read_bytes(), top_k=1000)
    probabilities = {each.index: each.probability for each in native.classes}
    # Only the last digits may differ: another run may divide the cores differently.
    assert results["coffee"] == pytest.approx([probabilities[index] for index in range(1000)], abs=1e-6, rel=1e-4)
    assert results["id"] == "mine"


def test_each_asynchronous_call_receives_its_own_answer(results: dict[str, Any], labels: list[str]) -> None:
    assert results["aio"] == labels


def test_a_stream_is_answered_in_order_and_survives_an_invalid_picture(
    results: dict[str, Any], labels: list[str]
) -> None:
    *before, failed, first_after, second_after, third_after = results["streamed"]
    answered = [*before, first_after, second_after, third_after]
    assert [label for _, label in answered] == labels
    assert [place for place, _ in answered] == ["0", "1", "2", "4", "5", "6"]
    assert failed[0] == "" and "10 bytes" in failed[1]


def test_metadata_and_configuration_are_enough_for_an_image_client(results: dict[str, Any], labels: list[str]) -> None:
    assert results["prepared_digits"] == labels
    assert results["prepared_coffee"] == ["espresso"]


def test_loading_a_served_model_succeeds(results: dict[str, Any]) -> None:
    (status, _), is_ready = results["loaded"]
    assert status == "OK" and is_ready


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("floats", "INVALID_ARGUMENT", "input pixels is FP32, but must be UINT8: send the pixels as they are"),
        ("nobody", "NOT_FOUND", "there is no model 'nobody'"),
        ("damaged", "INVALID_ARGUMENT", "image 1 of 2"),
        ("hurried", "DEADLINE_EXCEEDED", "deadline"),
        ("load", "NOT_FOUND", "the repository has no model '../lenet'"),
        ("shared_memory", "UNIMPLEMENTED", ""),
    ],
)
def test_a_refusal_has_its_code_and_message(results: dict[str, Any], case: str, code: str, words: str) -> None:
    status, message = results["refused"][case]
    assert status == f"StatusCode.{code}" and words in message


def test_statistics_count_each_image_and_add_up(results: dict[str, Any], labels: list[str]) -> None:
    before, after = results["counted"]
    difference = {name: after[name] - before[name] for name in after}
    stages = ("queue", "compute_input", "compute_infer", "compute_output")
    assert difference["images"] == difference["by_size"] == len(labels) and 1 <= difference["batches"] <= len(labels)
    assert {difference[f"{stage}_count"] for stage in (*stages, "success")} == {len(labels)}
    assert all(difference[stage] > 0 for stage in stages)
    # The rest is spent between threads.
    assert 0 < sum(difference[stage] for stage in stages) <= difference["success"]
