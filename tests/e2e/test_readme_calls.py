"""The README's calls do what the README says, word for word: only the server's address is another.

One more call is one more entry in CALLS; a call with an output below it is compared with that by itself.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from tests.e2e.foreign import NODE_PACKAGES, TRITON_PYTHON

from linnaeus.server.errors import Overloaded
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.rpc.status import to_status
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

ROOT = Path(__file__).resolve().parent.parent.parent
ASKING = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Asking it\n")[2].partition("\n## ")[0]
ADDRESS = "localhost:8001"
BUSY_SECONDS = 0.02  # soon enough for our client to ask until it gives up
# Another device or another release of torch may differ by so much.
TOLERANCE = 0.05

RUN = {"sh": ("call.sh", ["sh", "-e"]), "python": ("call.py", [sys.executable]), "js": ("call.js", ["node"])}

Call = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of the README, and the output that stands below it, if any does."""

    language: str
    text: str
    output: str


# Each call by the line that its block begins with, up to what tells it from the others.
CALLS = {
    "Client": "from linnaeus.client import Client\n",
    "AsyncClient": "import asyncio\n",
    "batch and stream": "from pathlib import Path\n",
    "tritonclient": "import numpy\nimport tritonclient.grpc",
    "grpcurl": "grpcurl ",
    "buf curl": ".venv/bin/buf curl ",
    "Node": 'const fs = require("fs");\n',
}


def block(name: str) -> Block:
    """The one block of that name."""
    fence = r"^```(\w+)\n(.*?)^```$(?:\n\n^```\n(.*?)^```$)?"
    found = [Block(*each) for each in re.findall(fence, ASKING, re.MULTILINE | re.DOTALL)]
    (wanted,) = (each for each in found if each.text.startswith(CALLS[name]))
    return wanted


@pytest.fixture
def folder(tmp_path: Path, pictures: Path) -> Path:
    """Where the README is followed: a checkout after `make` and `npm install`."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    (tmp_path / "node_modules").symlink_to(NODE_PACKAGES)
    shutil.copytree(pictures, tmp_path / "pictures")
    return tmp_path


@pytest.fixture
def call(server: ServerProcess, folder: Path) -> Call:
    """Makes one of the README's calls and returns what it printed; skips what the machine lacks."""

    def make(name: str, target: str = server.target) -> str:
        _require(name)
        wanted = block(name)
        file, command = RUN[wanted.language] if name != "tritonclient" else ("call.py", [str(TRITON_PYTHON)])
        assert ADDRESS in wanted.text
        (folder / file).write_text(wanted.text.replace(ADDRESS, target), encoding="utf-8")
        environment = os.environ | {"no_proxy": "127.0.0.1"}
        done = subprocess.run(
            [*command, file], cwd=folder, env=environment, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done
        return done.stdout

    return make


def _require(name: str) -> None:
    if name == "tritonclient" and not TRITON_PYTHON.exists():
        pytest.skip("tritonclient is not here; `make test` installs it")
    if name == "grpcurl" and shutil.which("grpcurl") is None:
        pytest.skip("no grpcurl here; buf curl makes the same call")
    if name == "Node" and shutil.which("node") is None:
        pytest.skip("no node here")
    if name == "Node" and not NODE_PACKAGES.is_dir():
        pytest.skip("Node's packages are not here; `make test` installs them where npm has a registry")


@pytest.fixture(scope="module")
def busy() -> Iterator[str]:
    """The target of a server whose queue is always full, and says so as the real one does."""

    class Busy(v1_grpc.ClassifierServiceServicer):
        def Classify(self, request: v1.ClassifyRequest, context: grpc.ServicerContext) -> v1.ClassifyResponse:
            context.abort_with_status(to_status(Overloaded("as many images wait as may", BUSY_SECONDS)))

    server = grpc.server(ThreadPoolExecutor(1))
    v1_grpc.add_ClassifierServiceServicer_to_server(Busy(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def _alike(shown: str, printed: str) -> bool:
    """Whether two outputs have the same words, and numbers that differ by rounding and the like only."""

    def same(one: str, other: str) -> bool:
        number = re.compile(r"\d+\.\d+")
        if number.fullmatch(one) and number.fullmatch(other):
            return abs(float(one) - float(other)) <= TOLERANCE
        return one == other

    ours, theirs = shown.split(), printed.split()
    return len(ours) == len(theirs) and all(map(same, ours, theirs))


@pytest.mark.parametrize("name", ["Client", "batch and stream", "tritonclient", "Node"])
def test_a_program_prints_what_the_readme_shows(call: Call, name: str) -> None:
    printed = call(name)
    shown = block(name).output
    assert shown and _alike(shown, printed), printed


def test_a_program_for_asyncio_prints_what_its_comment_shows(call: Call) -> None:
    printed = call("AsyncClient")
    assert printed and f"# {printed}" in block("AsyncClient").text


@pytest.mark.parametrize("name", ["grpcurl", "buf curl"])
def test_a_tool_names_the_picture_without_the_contract_s_file(call: Call, folder: Path, name: str) -> None:
    (folder / "proto").unlink()
    answer = json.loads(call(name))
    assert [each["label"] for each in answer["classes"]] == ["espresso", "cup", "consomme"]


def test_both_tools_send_the_same_call() -> None:
    def sent(name: str) -> tuple[str, str]:
        command, _, body = block(name).text.partition("<<END\n")
        return command.split()[-1].removeprefix(f"http://{ADDRESS}/"), body

    assert sent("grpcurl") == sent("buf curl")


@pytest.mark.parametrize(
    ("name", "says"),
    [("AsyncClient", "no answer: "), ("Node", "no answer: INVALID_ARGUMENT ")],
)
def test_a_program_says_why_there_is_no_answer(call: Call, folder: Path, name: str, says: str) -> None:
    (folder / "pictures" / "coffee.jpg").write_bytes(b"Dear server, please look at my cat.")
    printed = call(name)
    assert printed.startswith(says) and "JPEG" in printed


@pytest.mark.parametrize(("name", "when"), [("AsyncClient", "0.02 s"), ("Node", "20 ms")])
def test_a_program_says_when_a_busy_server_wants_to_be_asked_again(call: Call, busy: str, name: str, when: str) -> None:
    assert call(name, busy) == f"too busy; try again in {when}\n"


def test_node_s_packages_are_those_that_the_readme_names() -> None:
    pinned = re.search(r"^NODE_PACKAGES := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None and f"`npm install {pinned[1]}`" in ASKING
