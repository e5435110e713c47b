"""NVIDIA's tritonclient over HTTP against a real server; it runs as a separate program, see `triton_http_calls.py`."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.forked_server import ForkedServer
from tests.programs import TRITON_CLIENT_PYTHON

PROGRAM = Path(__file__).with_name("triton_http_calls.py")

pytestmark = pytest.mark.needs(program="tritonclient")


@pytest.fixture(scope="module")
def results(repository: Path, pictures: Path) -> dict[str, Any]:
    # One image per batch: then the same image gives bit-identical answers in every call.
    alone = ["--max-batch-size", "1", "--streams", "1"]
    with ForkedServer("--repository", str(repository), "--http-port", "0", *alone) as server:
        targets = [f"127.0.0.1:{server.http_port}", server.target]
        command = [str(TRITON_CLIENT_PYTHON), str(PROGRAM), *targets, str(pictures)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def labels(pictures: Path) -> list[str]:
    return [path.stem for path in sorted((pictures / "digits").glob("*.png"))]


@pytest.mark.parametrize("what", ["digits", "coffee", "pixels"])
def test_answers_are_those_of_grpc_to_the_last_bit_whatever_the_form_and_compression(
    results: dict[str, Any], what: str
) -> None:
    answers = results["answers"][what]
    assert {"binary", "json answer", "gzip", "deflate"} <= answers.keys() and len(answers["grpc"]) > 9
    for way, probabilities in answers.items():
        assert probabilities == answers["grpc"], way


def test_each_call_receives_its_own_answer(results: dict[str, Any], labels: list[str]) -> None:
    assert results["id"] == "mine"
    assert results["labels"] == results["later"] == labels
    assert results["aio"] == [*labels, "there is no model 'nobody'; there are: efficientnet_lite0, lenet"]


def test_server_and_models_are_described(results: dict[str, Any]) -> None:
    asked = results["asked"]
    assert asked["live"] and asked["ready"] and asked["model_ready"] == [True, True, False]
    assert asked["metadata"]["name"] == "linnaeus" and "binary_tensor_data" in asked["metadata"]["extensions"]
    assert asked["model"]["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
    assert asked["version"]["versions"] == ["1"]
    assert asked["config"]["max_batch_size"] == 1 and asked["config"]["input"][0]["data_type"] == "TYPE_STRING"
    names = [(each["name"], each["version"], each["state"]) for each in asked["index"]]
    assert names == [("efficientnet_lite0", "1", "READY"), ("lenet", "1", "READY")]
    assert asked["loaded"] == [["OK", ""], True]
    (of_model,), of_all = (each["model_stats"] for each in asked["statistics"])
    assert of_model["inference_stats"]["success"]["count"] > 0 and len(of_all) == 2


@pytest.mark.parametrize(
    ("case", "status", "words"),
    [
        ("floats", 400, "input pixels is FP32, but must be UINT8: send the pixels as they are"),
        ("nobody", 404, "there is no model 'nobody'"),
        ("damaged", 400, "image 1 of 2"),
        ("hurried", 504, "deadline"),
        ("load", 404, "the repository has no model"),
        ("config", 400, "a model is loaded as the repository has it"),
        ("shared_memory", 501, "shared memory is not served"),
        ("cuda", 501, "shared memory is not served"),
        ("trace", 501, "trace settings cannot be changed by a call"),
        ("log", 501, "log settings cannot be changed by a call"),
    ],
)
def test_a_refusal_has_its_status_and_sentence(results: dict[str, Any], case: str, status: int, words: str) -> None:
    told, message = results["refused"][case]
    assert told == str(status) and words in message
