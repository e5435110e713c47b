"""Each extra, installed by pip from the wheel into an environment with nothing else, does what its users do first.

Reaches a package index and takes minutes, so only `make test-install` runs it, and `make test-release` that of the zoo.
With TEST_LATEST=1 pip takes the newest release of everything, as it does for a user; without it those of
constraints.txt, so that the check repeats.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linnaeus.server.rpc.child_server import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.needs(program="package index"), pytest.mark.timeout(1200)]
PINS = re.findall(r"^[^#].*$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
TORCH = [pin for pin in PINS if re.match(r"torch(vision)?==", pin)]
# Where an index has it, a build without CUDA, which is quick to install; the server needs no torchvision.
TORCH_OF_THE_SERVER = ["torch==2.13.0"]
SERVE_AND_ASK = """
import sys
from linnaeus.client import Client
from linnaeus.server.rpc.child_server import ServerProcess
with ServerProcess("--repository", sys.argv[1]) as server, Client(server.target) as client:
    print(client.classify(sys.argv[2], model="lenet").top.label)
"""
ASK = """
import sys
from linnaeus.client import Client
with Client(sys.argv[1]) as client:
    print(client.classify(sys.argv[2], model="lenet").top.label)
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as the page on installation says it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=600)
    (built,) = folder.glob("linnaeus-*.whl")
    return built


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    with ServerProcess("--repository", str(repository), "--models", "lenet") as process:
        yield process


@pytest.fixture
def install(wheel: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Returns a function that installs the wheel with an extra and returns how to run the environment's programs."""
    folder = tmp_path / "environment"
    # Neither this checkout nor settings of whoever runs the tests may help the environment.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LINNAEUS_"))}

    def run(program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [str(folder / "bin" / program), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=1100)

    def make(extra: str, *torch: str) -> Run:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=100)
        kept = [pin for pin in PINS if not pin.startswith("torch")]
        (tmp_path / "constraints.txt").write_text("\n".join(kept), encoding="utf-8")
        limits = [] if os.environ.get("TEST_LATEST") else ["--constraint", "constraints.txt"]
        done = run("pip", "install", *limits, *torch, f"{wheel}[{extra}]" if extra else wheel)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        checked = run("pip", "check")
        assert checked.returncode == 0, checked.stdout
        return run

    yield make
    shutil.rmtree(folder, ignore_errors=True)


def words(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """The words that a program printed, after it has ended without an error."""
    assert done.returncode == 0 and "Traceback" not in done.stderr, done
    return done.stdout.split()


def test_the_base_is_the_client_library(install: Callable[..., Run], server: ServerProcess, pictures: Path) -> None:
    run = install("")
    assert words(run("python", "-c", ASK, server.target, pictures / "digits" / "7.png")) == ["7"]
    missing = run("linnaeus-client", "classify", pictures / "digits" / "7.png")
    assert missing.returncode == 1 and missing.stderr.endswith("pip install 'linnaeus[cli]'\n")


def test_cli_is_the_command(install: Callable[..., Run], server: ServerProcess, pictures: Path) -> None:
    run = install("cli")
    assert "classify" in words(run("linnaeus-client", "--help"))
    picture = pictures / "digits" / "7.png"
    done = run("linnaeus-client", "classify", picture, "--server", server.target, "--output", "csv")
    assert f"{picture},1,7,7," in done.stdout, done
    missing = run("linnaeus-client", "load", picture, "--server", server.target)
    assert missing.returncode == 1 and missing.stderr.endswith("pip install 'linnaeus[load]'\n")


def test_load_is_the_load_tester_with_its_report(
    install: Callable[..., Run], server: ServerProcess, pictures: Path, tmp_path: Path
) -> None:
    run = install("load")
    arguments = ["--server", server.target, "--duration", "1s", "--warmup", "100ms", "--report", "report.html"]
    assert "goodput" in " ".join(words(run("linnaeus-client", "load", pictures / "digits", *arguments)))
    assert (tmp_path / "report.html").is_file()


def test_server_serves_and_answers(install: Callable[..., Run], repository: Path, pictures: Path) -> None:
    run = install("server", *TORCH_OF_THE_SERVER)
    assert "healthcheck" in words(run("linnaeus-server", "--help"))
    assert words(run("python", "-c", SERVE_AND_ASK, repository, pictures / "digits" / "7.png")) == ["7"]


@pytest.mark.release
def test_zoo_lists_draws_and_exports(install: Callable[..., Run], pictures: Path, tmp_path: Path) -> None:
    run = install("zoo", *TORCH)
    assert "efficientnet_lite0" in words(run("linnaeus-zoo", "list"))
    assert words(run("linnaeus-zoo", "visualize", "lenet", pictures / "digits" / "7.png", "--out", "look"))
    assert words(run("linnaeus-zoo", "export", "lenet"))
    assert (tmp_path / "model-repository" / "lenet" / "1" / "manifest.json").is_file()
