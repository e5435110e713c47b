"""The calls of the README and of docs/ do what the page says, word for word: only the server's address is another.

One more call is one more entry in `tests.pages.CALLS`. A call with an output below it is compared with that.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from tests.e2e.forked_server import ForkedServer
from tests.pages import block_of_call, blocks
from tests.programs import NODE_PACKAGES, TRITON_CLIENT_PYTHON

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.registry import find
from linnaeus.server.errors import Overloaded
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.rpc.status import to_status
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

ROOT = Path(__file__).resolve().parent.parent.parent
CLIENTS = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
ADDRESS = "localhost:8001"
HTTP_ADDRESS = "localhost:8000"
BUSY_SECONDS = 0.02  # soon enough for our client to ask until it gives up
# Another device or another release of torch may differ by so much.
TOLERANCE = 0.05

RUN = {"sh": ("call.sh", ["sh", "-e"]), "python": ("call.py", [sys.executable]), "js": ("call.js", ["node"])}

Call = Callable[..., str]
TRITON_CLIENT = pytest.param("tritonclient", marks=pytest.mark.needs(program="tritonclient"))
NODE = pytest.param("Node", marks=pytest.mark.needs(program="node"))
FETCH = pytest.param("fetch", marks=pytest.mark.needs(program="node"))
GRPCURL = pytest.param("grpcurl", marks=pytest.mark.needs(program="grpcurl"))


@pytest.fixture
def folder(tmp_path: Path, pictures: Path) -> Path:
    """Where a page is followed: a checkout after `make` and `npm install`."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    (tmp_path / "node_modules").symlink_to(NODE_PACKAGES)
    shutil.copytree(pictures, tmp_path / "pictures")
    return tmp_path


@pytest.fixture
def call(server: ServerProcess, folder: Path) -> Call:
    """Makes one of the pages' calls and returns what it printed."""

    def make(name: str, target: str = server.target, http: str = f"localhost:{server.http_port}") -> str:
        wanted = block_of_call(name)
        file, command = RUN[wanted.language] if name != "tritonclient" else ("call.py", [str(TRITON_CLIENT_PYTHON)])
        assert ADDRESS in wanted.text or HTTP_ADDRESS in wanted.text
        text = wanted.text.replace(ADDRESS, target).replace(HTTP_ADDRESS, http)
        (folder / file).write_text(text, encoding="utf-8")
        environment = os.environ | {"no_proxy": "127.0.0.1,localhost"}
        done = subprocess.run(
            [*command, file], cwd=folder, env=environment, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done
        return done.stdout

    return make


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


@pytest.mark.parametrize("name", ["Client", "batch and stream", "urllib", TRITON_CLIENT, NODE, FETCH])
def test_a_program_prints_what_its_page_shows(call: Call, name: str) -> None:
    printed = call(name)
    shown = block_of_call(name).output
    assert shown and _alike(shown, printed), printed


def test_the_search_by_features_prints_what_its_page_shows(call: Call, tmp_path: Path) -> None:
    lenet = find("lenet")
    export_torchscript(lenet, lenet.bundled_weights(), tmp_path / "repository", 1, features=True)
    with ForkedServer("--repository", str(tmp_path / "repository")) as server:
        printed = call("similarity search", server.target)
    shown = block_of_call("similarity search").output
    assert shown and _alike(shown, printed), printed


def test_an_answer_over_http_is_what_its_page_shows(server: ServerProcess, folder: Path) -> None:
    block = next(each for each in blocks(ROOT / "docs" / "http.md") if each.output)
    command = block.text.replace(HTTP_ADDRESS, f"localhost:{server.http_port}")
    environment = os.environ | {"no_proxy": "localhost"}
    done = subprocess.run(["sh", "-ec", command], cwd=folder, env=environment, capture_output=True, timeout=100)
    shown, answered = (json.loads(text) for text in (block.output, done.stdout))
    assert [each["label"] for each in shown["classes"]] == [each["label"] for each in answered["classes"]]
    assert shown.keys() == answered.keys() and shown["timings"].keys() == answered["timings"].keys()
    others = {"model", "version", "image_id", "features"}
    assert {name: shown[name] for name in others} == {name: answered[name] for name in others}


def test_a_program_for_asyncio_prints_what_its_comment_shows(call: Call) -> None:
    printed = call("AsyncClient")
    assert printed and f"# {printed}" in block_of_call("AsyncClient").text


@pytest.mark.parametrize("name", [GRPCURL, "buf curl"])
def test_a_tool_names_the_picture_without_the_contract_s_file(call: Call, folder: Path, name: str) -> None:
    (folder / "proto").unlink()
    answer = json.loads(call(name))
    assert [each["label"] for each in answer["classes"]] == ["espresso", "cup", "consomme"]


def test_both_tools_send_the_same_call() -> None:
    def sent(name: str) -> tuple[str, str]:
        command, _, body = block_of_call(name).text.partition("<<END\n")
        return command.split()[-1].removeprefix(f"http://{ADDRESS}/"), body

    assert sent("grpcurl") == sent("buf curl")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("AsyncClient", "no answer: "),
        pytest.param(*NODE.values, "no answer: INVALID_ARGUMENT ", marks=NODE.marks),
        pytest.param(*FETCH.values, "no answer: INVALID_ARGUMENT ", marks=FETCH.marks),
    ],
)
def test_a_program_says_why_there_is_no_answer(call: Call, folder: Path, name: str, says: str) -> None:
    (folder / "pictures" / "coffee.jpg").write_bytes(b"Dear server, please look at my cat.")
    printed = call(name)
    assert printed.startswith(says) and "JPEG" in printed


@pytest.mark.parametrize(
    ("name", "when"), [("AsyncClient", "0.02 s"), pytest.param(*NODE.values, "20 ms", marks=NODE.marks)]
)
def test_a_program_says_when_a_busy_server_wants_to_be_asked_again(call: Call, busy: str, name: str, when: str) -> None:
    assert call(name, busy) == f"too busy; try again in {when}\n"


def test_node_s_packages_are_those_that_the_page_names() -> None:
    pinned = re.search(r"^NODE_PACKAGES := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None and f"`npm install {pinned[1]}`" in CLIENTS
