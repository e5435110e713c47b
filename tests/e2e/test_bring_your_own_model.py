"""docs/bring-your-own-model.md is followed from trace to answer, and the answers are the original network's.

Only weights are replaced: the page's are downloaded, or the user's own. The programs run otherwise as they stand.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from tests.e2e.forked_server import ForkedServer
from tests.pages import ROOT, block_of_call, blocks, commands
from tests.programs import TIMM_PACKAGES

from linnaeus.client import Client
from linnaeus.server.rpc.child_server import ServerProcess

PAGE = ROOT / "docs" / "bring-your-own-model.md"
TOLERANCE = 1e-3
# What another preprocessing, the network's without its normalization, must differ by for the test to mean anything.
SENSITIVITY = 0.02
PICTURES = ("coffee", "chelsea", "camera")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# A resnet18 that tells pictures apart without trained weights; torchvision's and timm's have the same parameters.
RESNET = """
import torch
from linnaeus.models.registry import find
from linnaeus.models.weights.random_weights import random_weights

STATE = random_weights(find("resnet18"), 0).state
for name in ("fc.weight", "fc.bias"):
    STATE[name] = 3 * STATE[name]

def with_weights(network):
    network.load_state_dict(STATE)
    return network
"""
TORCHVISION = f"""{RESNET}
import torchvision.models
untrained = torchvision.models.resnet18
torchvision.models.resnet18 = lambda weights: with_weights(untrained())
"""
TIMM = f"""{RESNET}
import timm
create = timm.create_model
timm.create_model = lambda name, pretrained: with_weights(create(name, pretrained=False))
"""
OWN_WEIGHTS = """
torch.manual_seed(1)
for layer in network:
    if hasattr(layer, "reset_parameters"):
        layer.reset_parameters()
network[-1].weight.data *= 20
torch.save(network.state_dict(), "weights.pth")
"""
# Appended to each program: what the network itself answers, and what it would answer without its normalization.
ORIGINAL = """
import json
from PIL import Image

def probabilities(prepare):
    answers = {}
    with torch.inference_mode():
        for name in PICTURES:
            image = prepare(Image.open(f"pictures/{name}.jpg").convert("RGB"))
            answers[name] = network(image.unsqueeze(0)).softmax(1)[0].tolist()
    return answers

def without_normalization(image):
    for step in transform.transforms if hasattr(transform, "transforms") else ():
        image = image if type(step).__name__ == "Normalize" else step(image)
    return image if isinstance(image, torch.Tensor) else torch.zeros(3, 224, 224)

with open("original.json", "w") as file:
    json.dump([probabilities(transform), probabilities(without_normalization)], file)
"""


@dataclass(frozen=True, slots=True)
class Way:
    """One of the page's ways to a traced network: its program, the name of its files, and code before the program."""

    program: str
    name: str
    before: str = ""


OWN = Way("trace your own", "mine")
OF_TORCHVISION = Way("trace torchvision", "resnet18", TORCHVISION)
WAYS = [
    pytest.param(OWN, id="own", marks=pytest.mark.release),
    pytest.param(OF_TORCHVISION, id="torchvision"),
    pytest.param(
        Way("trace timm", "timm", TIMM), id="timm", marks=[pytest.mark.release, pytest.mark.needs(program="timm")]
    ),
]


def page_commands(part: str) -> list[str]:
    """The page's commands that contain a text, in order."""
    shell = [block for block in blocks(PAGE) if block.language == "sh"]
    return [command for block in shell for command in commands(block) if part in command]


def run(arguments: list[str], folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    search = f"{TIMM_PACKAGES}:{os.environ.get('PYTHONPATH', '')}"
    environment = os.environ | {"no_proxy": "127.0.0.1,localhost", "PYTHONPATH": search} | variables
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


def trace(way: Way, folder: Path) -> None:
    """Runs the program of the page, with weights of the test's."""
    loading = "network.load_state_dict(torch.load("
    text = block_of_call(way.program).text.replace(loading, OWN_WEIGHTS + loading)
    (folder / "trace.py").write_text(f"{way.before}\n{text}\nPICTURES = {PICTURES}\n{ORIGINAL}", encoding="utf-8")
    done = run([sys.executable, "trace.py"], folder)
    assert done.returncode == 0, done


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Callable[[Way], Path]:
    """Returns a function that gives a folder like a checkout after `make`, in which a program of the page has run."""

    @cache
    def make(way: Way) -> Path:
        folder = tmp_path_factory.mktemp(way.name)
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        shutil.copytree(pictures, folder / "pictures")
        trace(way, folder)
        return folder

    return make


@pytest.fixture
def checkout(traced: Callable[[Way], Path], tmp_path: Path) -> Callable[[Way], Path]:
    """Returns a function that gives a copy of what `traced` has, for one test."""
    return lambda way: Path(shutil.copytree(traced(way), tmp_path / "checkout", symlinks=True))


def serve(repository: Path) -> ForkedServer:
    """Returns a server for single pictures, which runs no larger batch before it serves."""
    return ForkedServer("--repository", str(repository), "--max-batch-size", "1")


def difference(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_the_server_answers_as_the_original_network_does(way: Way, checkout: Callable[[Way], Path]) -> None:
    folder = checkout(way)
    original, unnormalized = json.loads((folder / "original.json").read_text())
    steps = page_commands(f" {way.name}.pt ")
    assert [step.split()[1] for step in steps] == ["check", "import"]
    for step in steps:
        done = run(["bash", "-ec", step], folder)
        assert done.returncode == 0 and done.stdout and not done.stderr, done
    (command,) = page_commands("linnaeus-server --repository")
    with serve(folder / command.split()[-1]) as process:
        (ask,) = page_commands("linnaeus-client classify")
        assert " --model mine " in ask
        command = ask.replace("--model mine", f"--model {way.name}")
        done = run(["bash", "-ec", command], folder, LINNAEUS_SERVER=process.target)
        assert done.returncode == 0, done
        asked = json.loads(done.stdout)
        served = answers(process, folder, way.name, len(original["coffee"]))
    assert {each["index"]: each["probability"] for each in asked[0]["classes"]}.items() <= dict(
        enumerate(served["coffee"])
    ).items()
    for name in PICTURES:
        assert difference(served[name], original[name]) <= TOLERANCE, name
        assert difference(unnormalized[name], original[name]) >= SENSITIVITY, "the test could not detect a fault"


@pytest.mark.release
def test_the_same_network_as_onnx_is_answered_alike(checkout: Callable[[Way], Path]) -> None:
    folder = checkout(OF_TORCHVISION)
    original, unnormalized = json.loads((folder / "original.json").read_text())
    (folder / "export.py").write_text(block_of_call("export to ONNX").text, encoding="utf-8")
    assert run([sys.executable, "-W", "ignore", "export.py"], folder).returncode == 0
    steps = page_commands(" resnet18.onnx ")
    assert [step.split()[1] for step in steps] == ["check", "import"]
    for step in steps:
        done = run(["bash", "-ec", step], folder)
        assert done.returncode == 0 and done.stdout and not done.stderr, done
    with serve(folder / "model-repository") as process:
        served = answers(process, folder, "resnet18-onnx", len(original["coffee"]))
    for name in PICTURES:
        assert difference(served[name], original[name]) <= TOLERANCE, name
        assert difference(unnormalized[name], original[name]) >= SENSITIVITY, "the test could not detect a fault"


def answers(process: ServerProcess, folder: Path, model: str, classes: int) -> dict[str, list[float]]:
    """All probabilities that the server gives for each picture, by class index."""
    found = {}
    with Client(process.target) as client:
        for name in PICTURES:
            result = client.classify(
                folder / "pictures" / f"{name}.jpg", model=model, top_k=classes, timeout_seconds=60
            )
            by_index = {each.index: each.probability for each in result.classes}
            found[name] = [by_index[index] for index in range(len(by_index))]
    return found


def test_check_prints_what_the_page_shows(checkout: Callable[[Way], Path]) -> None:
    folder = checkout(OWN)
    sigmoid = "import torch; network = torch.jit.load('mine.pt'); "
    sigmoid += (
        "torch.jit.trace(torch.nn.Sequential(network, torch.nn.Sigmoid()), torch.zeros(1, 3, 128, 128)).save('mine.pt')"
    )
    done = run([sys.executable, "-W", "ignore", "-c", sigmoid], folder)
    assert done.returncode == 0, done
    (check,) = page_commands("check mine.pt ")
    done = run(["bash", "-ec", check], folder)
    assert done.returncode == 1 and not done.stderr
    (shown,) = [block.text for block in blocks(PAGE) if block.text.startswith("mine.pt: ")]
    assert done.stdout == shown
