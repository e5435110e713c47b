"""KServe's Python SDK against a real server; it runs as a separate program, see `kserve_sdk_calls.py`."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.forked_server import ForkedServer
from tests.programs import KSERVE_PYTHON

PROGRAM = Path(__file__).with_name("kserve_sdk_calls.py")

pytestmark = pytest.mark.needs(program="kserve")


@pytest.fixture(scope="module")
def results(repository: Path, pictures: Path) -> dict[str, Any]:
    flags = ["--models", "lenet", "--http-port", "0", "--max-batch-size", "1", "--streams", "1"]
    with ForkedServer("--repository", str(repository), *flags) as server:
        command = [str(KSERVE_PYTHON), str(PROGRAM), f"http://127.0.0.1:{server.http_port}", str(pictures)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_sdk_finds_the_server_and_the_model_ready(results: dict[str, Any]) -> None:
    assert results["live"] is results["ready"] is True and results["model_ready"] == [True, False]


def test_the_sdk_classifies_pictures(results: dict[str, Any], pictures: Path) -> None:
    assert results["labels"] == [path.stem for path in sorted((pictures / "digits").glob("*.png"))]
    assert results["id"] == "mine"


def test_the_sdk_gets_the_same_answer_in_json_and_binary(results: dict[str, Any]) -> None:
    assert len(results["json"]) == 30 and results["json"] == results["binary"] == results["binary answer"]


def test_the_sdk_shows_the_sentence_of_a_refusal(results: dict[str, Any]) -> None:
    assert results["refused"].startswith("there is no model 'nobody'; there are: lenet, '404 Not Found'")
